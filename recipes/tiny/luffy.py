"""LUFFY: seven rollouts and a trace per prompt, the trace's tokens shaped by p / (p + .1)."""

from recipes.tiny.red import rates
from recipes.tiny.red import recipe as red
from red_mcore.algorithms.luffy import LUFFY
from red_mcore.recipe import Recipe

TRIALS = rates(3e-4, 6e-4, 1.2e-3)


def recipe() -> Recipe:
    r = red()
    r.name = "luffy"
    r.algorithm = LUFFY(constant=80.0)
    return r
