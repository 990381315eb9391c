"""LUFFY (arXiv 2504.14945, code ElliottYan/LUFFY) on Qwen2.5-Math-1.5B; also the protocol that its
rivals share.

Known: 128 prompts x (7 rollouts + 1 trace), two updates per step, lr 1e-6 constant, AdamW (.9,
.999), weight decay .01, gradient clip 1, no KL term, entropy bonus .001, 1024 + 8192 tokens,
temperature 1, gamma .1, no clip, no deviation, token sums divided by 8192, no filter of groups, a
right or wrong answer behind the closing think tag as the only reward (without the tag it is wrong),
the data's system prompt.

Scale: the code divides the token sum of a micro-batch by 8192 and by no number of sequences, adds
micro-batches up, and averages the gradients of 8 ranks, so that a token's loss is divided by
8192 x 8. Here N = 64 x 8 = 512 sequences of an update divide it, too: the constant is 8192 x 8 /
512 = 128. The entropy bonus is a mean in each micro-batch, and added up, over about 5 of a rank: 64
sequences of 2400 tokens, prompts included, at most 32768 together. Here it is one mean: the
coefficient is .001 x 5 = .005. Without this, RL would weigh an eighth to a twentieth of what it
does beside the bonus, which the clip of the whole gradient cannot make up for.

Unknown, and what stands here: number of steps of the 1.5B run, 500 as of the 7B run (64k prompts).

On purpose not as in the code: the chat template does not open the think tag, the traces begin with
it.

Reported (1.5B; avg@32 on AIME and AMC, pass@1 else, temperature .6, 8192 tokens): AIME24 16.0,
AIME25 13.1, AMC 47.1, MATH-500 80.2, Minerva 30.5, Olympiad 41.0, mean 38.0; untrained 7.2, 3.6,
26.4, 28.0, 9.6, 21.2, mean 16.0. 7B: mean 50.1; 46.3 when run anew by arXiv 2604.23747. 1.5B run
anew by arXiv 2509.04419: mean 34.7.
"""

from dataclasses import replace

from recipes.red_1p5b import recipe as red_1p5b
from red_mcore.algorithms.luffy import LUFFY
from red_mcore.evaluation.protocols import luffy
from red_mcore.recipe import Batch, Optimizer, Recipe

SYSTEM_PROMPT = (
    "Your task is to follow a systematic, thorough reasoning process before providing the final"
    " solution. This involves analyzing, summarizing, exploring, reassessing, and refining your"
    " thought process through multiple iterations. Structure your response into two sections:"
    " Thought and Solution. In the Thought section, present your reasoning using the format:"
    ' "<think>\n {thoughts} </think>\n". Each thought should include detailed analysis,'
    ' brainstorming, verification, and refinement of ideas. After "</think>\n," in the Solution'
    " section, provide the final, logical, and accurate answer, clearly derived from the"
    " exploration in the Thought section. If applicable, include the answer in \\boxed{} for"
    " closed-form results like multiple choices or mathematical solutions."
)
"""First turn of every row of the data set."""


MICRO_BATCHES = 5
"""Of a rank in an update of the authors' runs, about: their means are added up."""


def constant(sequences: int) -> float:
    """What divides token sums beside the ``sequences`` of an update, where the authors' are divided
    by 8192 and 8."""
    return 8192 * 8 / sequences


def recipe() -> Recipe:
    r = red_1p5b()
    r.name = "paper_luffy"
    r.algorithm = LUFFY(constant=constant(64 * 8), entropy_coefficient=0.001 * MICRO_BATCHES)
    r.batch = Batch(
        prompts_per_step=128, samples_per_prompt=7, updates_per_step=2, tokens_per_micro_batch=16384
    )
    r.optimizer = Optimizer(lr=1e-6, schedule="constant", betas=(0.9, 0.999), weight_decay=0.01)
    r.reward.overlong = None
    r.reward.answer_after = "</think>"
    r.data.system_prompt = SYSTEM_PROMPT
    # Their evaluation opens the thinking for the model; here it has learnt to from the same prompt.
    r.evaluation.benchmarks.protocol = replace(luffy(), system_prompt=SYSTEM_PROMPT, opening="")
    return r
