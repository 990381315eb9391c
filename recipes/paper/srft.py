"""SRFT (arXiv 2506.19767), whose settings are for Qwen2.5-Math-7B: LUFFY's protocol with its loss.

Known: 8 rollouts per prompt and the trace, 500 steps, lr 1e-6 constant, 8192 tokens, positions
extended as here, LUFFY's system prompt and data, right or wrong as the only reward, weights .5
exp(-H) and .1 exp(H), A over the augmented group.

Unknown, and what stands here: prompts per step and updates, 128 and 2; the entropies are each
sequence's; normalisers and entropy bonus (.001) of the re-implementation in Unify-Post-Training.
Signs are the paper's, its released code differs; so are A over the deviation and the bare
probability of the trace's tokens, where the re-implementation has neither the deviation nor the
bare p.

Scale of the re-implementation, by the arithmetic of ``recipes/paper/luffy.py``: here
N = 64 x 9 = 576, so that the constant of terms 2 to 4 is 8192 x 8 / 576 = 113.8; the trace's
imitation and the bonus are means of about 5 micro-batches, added up: factors .5 x 5 = 2.5 and
.001 x 5 = .005.

Reported (7B; avg@32 on AIME24 and AMC, pass@1 else, temperature .6): AIME24 35.3, AMC 74.3 (72.2 in
another table of the paper), MATH-500 89.8, Minerva 39.7, Olympiad 58.3, mean 59.5 (59.1). Run anew
with AIME25: 53.2 by arXiv 2604.23747, 44.2 by arXiv 2509.04419. 1.5B: none.
"""

from recipes.paper.luffy import MICRO_BATCHES, constant
from recipes.paper.luffy import recipe as luffy
from red_mcore.algorithms.srft import SRFT
from red_mcore.recipe import Recipe


def recipe() -> Recipe:
    r = luffy()
    r.name = "paper_srft"
    r.algorithm = SRFT(
        constant=constant(64 * 9),
        sft_weight=0.5 * MICRO_BATCHES,
        entropy_coefficient=0.001 * MICRO_BATCHES,
    )
    r.batch.samples_per_prompt = 8
    r.reward.answer_after = None
    return r
