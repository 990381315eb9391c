"""SFT of a pretrained model on worked solutions (one epoch of GSM8K), then 200 steps of GRPO, in
one run.

The stages are those of ``recipes/hf/sft.py`` and ``recipes/hf/grpo.py``, each with its own
optimizer.
"""

from recipes.hf.grpo import recipe as grpo
from red_mcore.algorithms.sft_then_grpo import SFTThenGRPO
from red_mcore.recipe import Optimizer, Recipe


def recipe() -> Recipe:
    r = grpo()
    r.name = "hf_sft_then_grpo"
    r.algorithm = SFTThenGRPO(
        std_normalise=False,
        aggregation="constant",
        constant=None,
        sft_steps=117,
        imitation=Optimizer(lr=1e-5, schedule="cosine", warmup_steps=10),
    )
    r.steps += r.algorithm.sft_steps
    return r
