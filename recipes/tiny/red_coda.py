"""RED-CoDA: a weighted cross-entropy beside GRPO, moving averages of entropy, a factor from the
step's accuracy."""

from recipes.tiny.red import rates
from recipes.tiny.red import recipe as red
from red_mcore.algorithms.red_coda import REDCoDA
from red_mcore.recipe import Recipe

TRIALS = rates(3e-4, 6e-4, 1.2e-3)


def recipe() -> Recipe:
    r = red()
    r.name = "red_coda"
    r.algorithm = REDCoDA(aggregation="constant", constant=80.0)
    return r
