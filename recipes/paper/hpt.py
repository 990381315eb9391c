"""HPT with its authors' settings for Qwen2.5-Math-1.5B (arXiv 2509.04419, code
TsinghuaC3I/Unify-Post-Training).

Known: 128 prompts x 8 rollouts, the trace for prompts that none of them solves, updates of 512
sequences (two per step, one once more than 73 prompts fail), lr 5e-6 constant, 500 steps, gradient
clip 1 and steps with a norm above 80 left out, imitation weight .3 (1 for 7B), gate 0 (2 for
Llama-3.1-8B), no clip, no deviation, token sums divided by 8192, entropy bonus .001, 8192 tokens,
temperature 1, answers searched in the whole text; the code is LUFFY's, with its data and AdamW.

Scale, by the arithmetic of ``recipes/paper/luffy.py``: N = 64 x 8 = 512, so that the constant is
8192 x 8 / 512 = 128; cross-entropy and bonus are means of about 5 micro-batches, added up: weights
.3 x 5 = 1.5 and .001 x 5 = .005. (In the code a micro-batch without a trace adds nothing, so that
imitation weighs less where few prompts fail.)

Unknown: nothing that has a field here. On purpose otherwise: the two updates of a step are of equal
size, in the code the second has what 512 sequences leave; what ``recipes/paper/luffy.py`` says.

Reported (1.5B, by a reader of the paper; temperature .6, top-p .95): mean of AIME24, AIME25, AMC,
MATH-500, Minerva and Olympiad 41.9, LUFFY run alike 34.7. 7B: 52.7 against SFT 44.5, GRPO 43.1, SFT
then GRPO 46.5, LUFFY 49.8.
"""

from recipes.paper.luffy import MICRO_BATCHES, constant
from recipes.paper.luffy import recipe as luffy
from red_mcore.algorithms.hpt import HPT
from red_mcore.recipe import Recipe


def recipe() -> Recipe:
    r = luffy()
    r.name = "paper_hpt"
    r.algorithm = HPT(
        constant=constant(64 * 8),
        sft_weight=0.3 * MICRO_BATCHES,
        entropy_coefficient=0.001 * MICRO_BATCHES,
    )
    r.batch.samples_per_prompt = 8
    r.optimizer.lr = 5e-6
    r.optimizer.skip_grad = 80.0
    r.reward.answer_after = None
    return r
