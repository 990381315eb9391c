"""DFT: imitation of 24 traces a step, each token weighed by its probability, no rollouts."""

from recipes.tiny.red import rates
from recipes.tiny.red import recipe as red
from red_mcore.algorithms.dft import DFT
from red_mcore.recipe import Recipe

TRIALS = rates(1e-4, 3e-4, 1e-3)


def recipe() -> Recipe:
    r = red()
    r.name = "dft"
    r.algorithm = DFT()
    r.evaluation.every = 100
    r.optimizer.lr = 3e-4
    return r
