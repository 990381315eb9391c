"""RED on Qwen2.5-Math-1.5B (arXiv 2508.16677), with the settings of the code,
millioniron/OpenRLHF-Millioniron-.

Known: 64 prompts x (7 rollouts + 1 trace), one update per step, lr 2e-6 with cosine decay to a
tenth, Adam (.9, .95), no weight decay, gradient clip 1, no KL term, 1024 + 8192 tokens, temperature
1, advantages over the group's deviation, token losses divided by 3000, w in 1 to 7, accuracy plus
overlong penalty over the last 2000 tokens, groups of one accuracy replaced in at most 6 further
rounds, no system prompt but the chat template's own.

Unknown, and what stands here: number of steps (the code goes five times over the data), 500 as in
the papers that RED is compared with; whether the denominator of the policy shift carries a
gradient, no (``red_autograd`` is the other reading; in the last public version of the code the line
is commented out, ``algorithm.shift=off``).

On purpose not as in the code: a trace ends in an end-of-sequence token and gets no overlong
penalty; what is a trace is said by a flag, not by a place that filtering shuffles; no format
reward, which R1's traces never earn.

Reported (1.5B; by summaries of the paper, its tables could not be read): MATH-500 pass@1 65.5,
against 63.8 for LUFFY, 65.2 for Qwen2.5-Math-1.5B-Instruct and about 60.2 for SFT+GRPO; AIME24 3.5
above SFT+GRPO; 2050 tokens per answer. AIME24 itself, AIME25, AMC, Minerva, Olympiad and the
ablations: no figure found that can be trusted. LUFFY's own paper has 80.2 on MATH-500 for the same
model, so the two papers' numbers do not compare.
"""

from recipes.red_1p5b import recipe as red_1p5b
from red_mcore.recipe import Recipe


def recipe() -> Recipe:
    r = red_1p5b()
    r.name = "paper_red"
    return r
