"""RED, and what all recipes of the comparison share: task, model, prompts, steps, and a constant
learning rate.

With a constant rate every evaluation along a run is also the end of a shorter run, so that one run
per method can be read at equal steps, at equal generated tokens and at equal seconds
(``tools/compare.py``). ``TRIALS`` are the settings among which each method's own are chosen, on
other problems; every method has as many.
"""

from recipes.red_tiny import recipe as red_tiny
from red_mcore.recipe import Recipe


def rates(*rates: float) -> list[list[str]]:
    """Trials of these learning rates."""
    return [[f"optimizer.lr={rate}"] for rate in rates]


TRIALS = rates(3e-4, 6e-4, 1.2e-3)


def recipe() -> Recipe:
    r = red_tiny()
    r.name = "red"
    r.steps = 100
    r.optimizer.schedule = "constant"
    r.evaluation.every = 25
    return r
