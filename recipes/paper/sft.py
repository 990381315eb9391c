"""SFT on the traces with LUFFY's settings (arXiv 2504.14945), which arXiv 2604.23747 confirms once
the loss is right.

Known: 64 traces per update, lr 5e-5 after 10 % of warm-up, cosine decay to a tenth, AdamW (.9,
.999), weight decay .01, 3 epochs over 46k traces, one mean over all tokens of the update. The
learning rate matters: with 5e-6 and 128 traces it costs 5 points (arXiv 2604.23747).

Unknown, and what stands here: gradient clip, 1. On purpose otherwise: the leading think tag stays,
because the chat template does not open it.

Reported (7B, no 1.5B figure found): mean of AIME24, AIME25, AMC, MATH-500, Minerva and Olympiad
44.1 by LUFFY, 52.2 by arXiv 2604.23747 (33.6, 28.2, 65.4, 90.0, 40.6, 55.7), who trace the
difference to means of means and lost gradients.
"""

from recipes.paper.luffy import recipe as luffy
from red_mcore.algorithms.sft import SFT
from red_mcore.recipe import Batch, Optimizer, Recipe

STEPS = 2156  # 3 x 46 000 / 64
OPTIMIZER = Optimizer(lr=5e-5, warmup_steps=STEPS // 10, betas=(0.9, 0.999), weight_decay=0.01)


def recipe() -> Recipe:
    r = luffy()
    r.name = "paper_sft"
    r.algorithm = SFT()
    r.steps = STEPS
    r.batch = Batch(prompts_per_step=64, tokens_per_micro_batch=16384)
    r.optimizer = OPTIMIZER
    r.evaluation.every = r.checkpoint.every = 200
    return r
