"""ReLIFT with its authors' script for Qwen2.5-Math-1.5B (arXiv 2506.07527, code TheRoadQaQ/ReLIFT).

Known: 128 prompts x 8 rollouts, two updates per step, lr 1e-6 constant, gradient clip .7, no clip,
no deviation, token sums divided by 8192, entropy bonus .001, no KL term, 1024 + 8192 tokens,
temperature 1, an answer without the closing think tag is wrong; whenever 128 unsolved prompts have
gathered one update on their traces with an optimizer of its own, lr 1e-6, gradient clip 1, entropy
bonus .001. The script allows 3 epochs, 500 steps are usual. AdamW's weight decay .01 and betas (.9,
.999) are verl's defaults. A count of 64 traces instead of 128 also fits the paper's 13 % of
demonstrations.

Scale, by the arithmetic of ``recipes/paper/luffy.py``: N = 64 x 8 = 512, so that the constant is
8192 x 8 / 512 = 128, and the rollouts' bonus .001 x 5 = .005. Imitation and its bonus share their
updates with nothing else: 1 and .001.

On purpose not as in the code: one mean over all tokens of an imitation update, and its gradient not
too small by the data-parallel size.

Reported: +5.2 points over earlier RL from base models, mean of five mathematical benchmarks and one
other (7B, abstract). 7B by others: AIME24 28.2, AMC 64.8, MATH-500 85.0, Minerva 37.1, Olympiad
54.9, mean 54.0 (arXiv 2506.19767); mean with AIME25 48.8 (arXiv 2604.23747). A 1.5B model is
released; its table could not be read.
"""

from recipes.paper.luffy import MICRO_BATCHES, constant
from recipes.paper.luffy import recipe as luffy
from red_mcore.algorithms.relift import ReLIFT
from red_mcore.recipe import Optimizer, Recipe


def recipe() -> Recipe:
    r = luffy()
    r.name = "paper_relift"
    r.algorithm = ReLIFT(
        constant=constant(64 * 8),
        entropy_coefficient=0.001 * MICRO_BATCHES,
        imitation=Optimizer(lr=1e-6, schedule="constant", betas=(0.9, 0.999), weight_decay=0.01),
    )
    r.batch.samples_per_prompt = 8
    r.optimizer.clip_grad = 0.7
    return r
