"""GRPO (arXiv 2402.03300) under LUFFY's protocol (arXiv 2504.14945): the on-policy baseline, no traces.

Known, of the method: A over the group's deviation, clip .2 / .2, each sequence's mean. Its own paper trains a 7B
model with 64 rollouts of 1024 tokens and KL weight .04; the comparisons with traces drop the KL term. Batch, learning
rate, lengths and data are those of ``recipes/paper/luffy.py``, with 8 rollouts.

Unknown, and what stands here: whether the baselines of those papers keep deviation and sequence means (LUFFY's
scripts divide by 8192 and take no deviation, which is ``dr_grpo``'s loss); GRPO as published. An entropy bonus: none.

Reported (7B, no 1.5B figure found that could be checked): by arXiv 2506.19767 AIME24 24.7, AMC 61.6, MATH-500 79.2,
Minerva 33.7, Olympiad 47.1, mean of the five 49.3; by arXiv 2509.04419 a mean of 43.1 with AIME25.
"""

from recipes.paper.luffy import recipe as luffy
from red_mcore.algorithms.grpo import GRPO
from red_mcore.recipe import Recipe


def recipe() -> Recipe:
    r = luffy()
    r.name = "paper_grpo"
    r.algorithm = GRPO()
    r.batch.samples_per_prompt = 8
    return r
