"""RL with SFT loss, the baseline of LUFFY's paper (arXiv 2504.14945): both at once, the trace
outside the group.

Known: advantages over the 7 rollouts alone, no clip, no deviation, token sums divided by 8192, plus
1 x the mean cross-entropy of the traces; all else as in ``recipes/paper/luffy.py``. Unknown, and
what stands here: whether the entropy bonus is on, .001 as in LUFFY's script.

Scale, by the arithmetic of ``recipes/paper/luffy.py``: RL has N = 64 x 7 = 448 rollouts, so that
the constant is 8192 x 8 / 448 = 146.3; cross-entropy and bonus are means of about 5 micro-batches,
added up: weights 5 and .005.

Reported (7B, no 1.5B figure found): AIME24 19.5, AIME25 16.4, AMC 49.7, MATH-500 80.4, Minerva
34.9, Olympiad 39.4, mean 40.1, after 133 x 8 GPU hours where LUFFY took 77 x 8.
"""

from recipes.paper.luffy import MICRO_BATCHES, constant
from recipes.paper.luffy import recipe as luffy
from red_mcore.algorithms.sft_grpo import SFTGRPO
from red_mcore.recipe import Recipe


def recipe() -> Recipe:
    r = luffy()
    r.name = "paper_sft_grpo"
    r.algorithm = SFTGRPO(
        constant=constant(64 * 7),
        sft_weight=1.0 * MICRO_BATCHES,
        entropy_coefficient=0.001 * MICRO_BATCHES,
    )
    return r
