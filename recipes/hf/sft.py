"""SFT of a pretrained model on the worked solutions of its data: three epochs of GSM8K, 64
solutions an update.

A rate of 1e-5 with a decay to a tenth. ``validation={patience: 3}`` adds the loss on held-out
traces and ends the run where it no longer falls. Responses are sampled for evaluations alone.
"""

from recipes.hf.grpo import recipe as grpo
from red_mcore.algorithms.sft import SFT
from red_mcore.recipe import Optimizer, Recipe


def recipe() -> Recipe:
    r = grpo()
    r.name = "hf_sft"
    r.algorithm = SFT()
    r.epochs = 3.0
    r.optimizer = Optimizer(lr=1e-5, schedule="cosine", warmup_steps=10)
    return r
