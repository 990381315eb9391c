"""GRPO on seven rollouts per prompt plus cross-entropy on the trace, at once and with a fixed
weight."""

from recipes.tiny.red import rates
from recipes.tiny.red import recipe as red
from red_mcore.algorithms.sft_grpo import SFTGRPO
from red_mcore.recipe import Recipe

TRIALS = rates(3e-4, 6e-4, 1.2e-3)


def recipe() -> Recipe:
    r = red()
    r.name = "sft_grpo"
    r.algorithm = SFTGRPO(std_normalise=True, constant=80.0)
    r.optimizer.lr = 1.2e-3
    return r
