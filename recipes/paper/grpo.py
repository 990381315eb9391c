"""GRPO (arXiv 2402.03300) as LUFFY's authors run it (arXiv 2504.14945): their on-policy baseline,
no traces.

Known, of their script: A without the deviation, clip .2 / .2, token sums divided by 8192, no KL
term, entropy bonus .001. Batch, learning rate, lengths, data and reward are those of
``recipes/paper/luffy.py``, with 8 rollouts. The method's own paper divides by the deviation and by
each sequence's length, trains a 7B model with 64 rollouts of 1024 tokens, and has a KL weight of
.04: ``algorithm.std_normalise=true algorithm.aggregation=sequence`` for the former.

Scale, by the arithmetic of ``recipes/paper/luffy.py``: N = 64 x 8 = 512, so that the constant is
8192 x 8 / 512 = 128, and the bonus .001 x 5 = .005.

Reported (7B, no 1.5B figure found that could be checked): by arXiv 2506.19767 AIME24 24.7, AMC
61.6, MATH-500 79.2, Minerva 33.7, Olympiad 47.1, mean of the five 49.3; by arXiv 2509.04419 a mean
of 43.1 with AIME25.
"""

from recipes.paper.luffy import MICRO_BATCHES, constant
from recipes.paper.luffy import recipe as luffy
from red_mcore.algorithms.grpo import GRPO
from red_mcore.recipe import Recipe


def recipe() -> Recipe:
    r = luffy()
    r.name = "paper_grpo"
    r.algorithm = GRPO(
        std_normalise=False,
        aggregation="constant",
        constant=constant(64 * 8),
        entropy_coefficient=0.001 * MICRO_BATCHES,
    )
    r.batch.samples_per_prompt = 8
    return r
