"""CHORD-mu: GRPO on eight rollouts and imitation of the trace, whose share falls from .9 to .05 in
100 steps."""

from recipes.tiny.red import rates
from recipes.tiny.red import recipe as red
from red_mcore.algorithms.chord import CHORD
from red_mcore.recipe import Recipe

TRIALS = rates(3e-4, 6e-4, 1.2e-3)


def recipe() -> Recipe:
    r = red()
    r.name = "chord"
    r.algorithm = CHORD(aggregation="constant", constant=80.0, decay_steps=100)
    r.batch.samples_per_prompt = 8
    r.optimizer.lr = 1.2e-3
    return r
