"""CHORD-mu (arXiv 2508.11408, code modelscope/Trinity-RFT), whose settings are for
Qwen2.5-7B-Instruct.

Known: 32 prompts x 8 rollouts, one update per step, at most 1500 steps, Adam (.9, .999),
temperature 1, clip .2, dual clip 3, no KL term, mu from .9 to .05 in 200 steps, both losses means
over the tokens of their kind (in the code of each micro-batch, weighed by its sequences, which is
the same where lengths are).

Unknown, and what stands here: which of 1e-6, 5e-6 and 1e-5 is the learning rate, 1e-6 constant;
weight decay, 0. On purpose otherwise: 8192 tokens where the paper has 16k, with which prompts would
not fit the positions; the traces are those of the step's prompts, 32, where the paper takes 64 of
5k others; LUFFY's system prompt; right or wrong as the only reward, without the paper's penalties
for format and length.

Reported (7B-Instruct; avg@32 on AIME, avg@8 on AMC): 2.4, 1.0 and 1.6 points above the best SFT
then RL on AMC, AIME24 and AIME25. 1.5B: none.
"""

from recipes.paper.luffy import recipe as luffy
from red_mcore.algorithms.chord import CHORD
from red_mcore.recipe import Batch, Optimizer, Recipe


def recipe() -> Recipe:
    r = luffy()
    r.name = "paper_chord"
    r.algorithm = CHORD(aggregation="token")
    r.reward.answer_after = None
    r.steps = 1500
    r.batch = Batch(prompts_per_step=32, samples_per_prompt=8, tokens_per_micro_batch=16384)
    r.optimizer = Optimizer(lr=1e-6, schedule="constant", betas=(0.9, 0.999))
    return r
