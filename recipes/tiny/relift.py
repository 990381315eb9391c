"""ReLIFT: GRPO on eight rollouts per prompt; traces of unsolved prompts are imitated, 24 in an
update of their own."""

from recipes.tiny.red import recipe as red
from red_mcore.algorithms.relift import ReLIFT
from red_mcore.recipe import Optimizer, Recipe

TRIALS = [
    ["optimizer.lr=3e-4", "algorithm.imitation.lr=3e-4"],
    ["optimizer.lr=6e-4", "algorithm.imitation.lr=3e-4"],
    ["optimizer.lr=6e-4", "algorithm.imitation.lr=1e-3"],
]


def recipe() -> Recipe:
    r = red()
    r.name = "relift"
    r.algorithm = ReLIFT(
        constant=80.0,
        demonstrations=24,
        imitation=Optimizer(lr=3e-4, schedule="constant", warmup_steps=2),
    )
    r.batch.samples_per_prompt = 8
    r.optimizer.lr = 3e-4
    return r
