"""GSPO: eight rollouts per prompt, no traces; two updates per step, without which no ratio differs
from 1."""

from recipes.tiny.red import rates
from recipes.tiny.red import recipe as red
from red_mcore.algorithms.gspo import GSPO
from red_mcore.recipe import Recipe

TRIALS = rates(1.5e-4, 3e-4, 6e-4)


def recipe() -> Recipe:
    r = red()
    r.name = "gspo"
    r.algorithm = GSPO()
    r.batch.samples_per_prompt = 8
    r.batch.updates_per_step = 2
    r.optimizer.lr = 3e-4
    return r
