"""CHORD-phi: GRPO on eight rollouts and imitation of the trace with a constant share of .1,
uncertain tokens first."""

from dataclasses import replace

from recipes.tiny.red import rates
from recipes.tiny.red import recipe as red
from red_mcore.algorithms.chord import chord_phi
from red_mcore.recipe import Recipe

TRIALS = rates(3e-4, 6e-4, 1.2e-3)


def recipe() -> Recipe:
    r = red()
    r.name = "chord_phi"
    r.algorithm = replace(chord_phi(), aggregation="constant", constant=80.0)
    r.batch.samples_per_prompt = 8
    r.optimizer.lr = 3e-4
    return r
