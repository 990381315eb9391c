"""BREAD: GRPO on eight rollouts; where none is right, on eight that go on from a part of the
trace."""

from recipes.tiny.red import rates
from recipes.tiny.red import recipe as red
from red_mcore.algorithms.bread import BREAD
from red_mcore.recipe import Recipe

TRIALS = rates(1.5e-4, 3e-4, 6e-4)


def recipe() -> Recipe:
    r = red()
    r.name = "bread"
    r.algorithm = BREAD(aggregation="constant", constant=80.0)
    r.batch.samples_per_prompt = 8
    r.optimizer.lr = 6e-4
    return r
