"""GSPO with the clips and the number of updates of its paper (arXiv 2507.18071, section 5.1), on
this model.

Known, of the authors' runs on a model made from Qwen3-30B-A3B-Base: each batch of rollouts is cut
into four updates, the ratio of a response is clipped at 1 - 3e-4 and 1 + 4e-4, advantages are
divided by the group's deviation, no KL term.

Unknown, and what stands here: 128 prompts x 8 rollouts and lr 1e-6 constant, as in
``recipes/paper/dr_grpo.py``, and the other recipes' problems, lengths and reward.

Reported (as curves, without a table): a higher reward and higher AIME24, LiveCodeBench and
CodeForces than GRPO at the same cost, with two orders of magnitude more tokens clipped. No 1.5B
figure.
"""

from recipes.red_1p5b import recipe as red_1p5b
from red_mcore.algorithms.gspo import GSPO
from red_mcore.recipe import Batch, Optimizer, Recipe


def recipe() -> Recipe:
    r = red_1p5b()
    r.name = "paper_gspo"
    r.algorithm = GSPO()
    r.batch = Batch(
        prompts_per_step=128, samples_per_prompt=8, updates_per_step=4, tokens_per_micro_batch=16384
    )
    r.optimizer = Optimizer(lr=1e-6, schedule="constant", betas=(0.9, 0.95))
    return r
