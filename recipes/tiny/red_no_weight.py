"""RED without entropy regulation: a trace weighs 1."""

from recipes.tiny.red import rates
from recipes.tiny.red import recipe as red
from red_mcore.algorithms.red import RED
from red_mcore.recipe import Recipe

TRIALS = rates(3e-4, 6e-4, 1.2e-3)


def recipe() -> Recipe:
    r = red()
    r.name = "red_no_weight"
    r.algorithm = RED(constant=80.0, entropy_weight=False)
    return r
