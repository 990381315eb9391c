"""Experimental: GRPO beside trace imitation that fades out within 20 steps; eight rollouts per
prompt."""

from recipes.tiny.red import recipe as red
from red_mcore.algorithms.fading_red import FadingRED
from red_mcore.recipe import Optimizer, Recipe

TRIALS = [
    ["optimizer.lr=3e-4", "algorithm.imitation.lr=1.5e-3"],
    ["optimizer.lr=3e-4", "algorithm.imitation.lr=3e-3"],
    ["optimizer.lr=6e-4", "algorithm.imitation.lr=3e-3"],
]


def recipe() -> Recipe:
    r = red()
    r.name = "fading_red"
    r.algorithm = FadingRED(
        aggregation="constant",
        constant=80.0,
        imitation=Optimizer(lr=1.5e-3, schedule="constant", warmup_steps=2),
    )
    r.batch.samples_per_prompt = 8
    r.optimizer.lr = 3e-4
    return r
