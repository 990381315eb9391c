"""SRFT: seven rollouts and a trace per prompt, imitation and reinforcement weighed by entropy."""

from recipes.tiny.red import rates
from recipes.tiny.red import recipe as red
from red_mcore.algorithms.srft import SRFT
from red_mcore.recipe import Recipe

TRIALS = rates(3e-4, 6e-4, 1.2e-3)


def recipe() -> Recipe:
    r = red()
    r.name = "srft"
    r.algorithm = SRFT(constant=80.0)
    r.optimizer.lr = 1.2e-3
    return r
