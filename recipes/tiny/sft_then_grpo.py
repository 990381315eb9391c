"""SFT on 24 traces a step, then GRPO on eight rollouts per prompt; the length of the first stage is
tuned, too."""

from recipes.tiny.red import recipe as red
from red_mcore.algorithms.sft_then_grpo import SFTThenGRPO
from red_mcore.recipe import Optimizer, Recipe

TRIALS = [
    ["optimizer.lr=3e-4", "algorithm.sft_steps=150"],
    ["optimizer.lr=3e-4", "algorithm.sft_steps=300"],
    ["optimizer.lr=6e-4", "algorithm.sft_steps=300"],
]


def recipe() -> Recipe:
    r = red()
    r.name = "sft_then_grpo"
    r.algorithm = SFTThenGRPO(
        aggregation="constant",
        constant=80.0,
        sft_steps=300,
        imitation=Optimizer(lr=2e-3, schedule="constant", warmup_steps=2),
    )
    r.steps += r.algorithm.sft_steps
    r.batch.samples_per_prompt = 8
    r.evaluation.every = 50
    return r
