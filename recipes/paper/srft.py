"""SRFT (arXiv 2506.19767), whose settings are for Qwen2.5-Math-7B: LUFFY's protocol with its loss.

Known: 8 rollouts per prompt and the trace, 500 steps, lr 1e-6 constant, 8192 tokens, positions extended as here,
LUFFY's system prompt and data, right or wrong as the only reward, weights .5 exp(-H) and .1 exp(H), A over the
augmented group.

Unknown, and what stands here: prompts per step and updates, 128 and 2; the entropies are each sequence's;
normalisers: token mean for the trace's imitation, 8192 x N else; no entropy bonus. Signs are the paper's, its
released code differs.

Reported (7B; avg@32 on AIME24 and AMC, pass@1 else, temperature .6): AIME24 35.3, AMC 74.3 (72.2 in another table of
the paper), MATH-500 89.8, Minerva 39.7, Olympiad 58.3, mean 59.5 (59.1). Run anew with AIME25: 53.2 by arXiv
2604.23747, 44.2 by arXiv 2509.04419. 1.5B: none.
"""

from recipes.paper.luffy import recipe as luffy
from red_mcore.algorithms.srft import SRFT
from red_mcore.recipe import Recipe


def recipe() -> Recipe:
    r = luffy()
    r.name = "paper_srft"
    r.algorithm = SRFT()
    r.batch.samples_per_prompt = 8
    return r
