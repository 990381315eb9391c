"""DAPO (arXiv 2503.14476), batch and optimizer of verl's scripts, lengths of the one for
Qwen2.5-Math-7B; no traces.

Known, of verl's script for the paper's Qwen2.5-32B: 512 prompts x 16 rollouts, 16 updates per step,
lr 1e-6 after 10 steps of warm-up, weight decay .1, gradient clip 1, clip .2 / .28, dual clip 10,
mean over all tokens, no KL term, rewards 1 and -1 (so that the length penalty, up to 1, weighs half
of what it would beside 1 and 0), groups that are all right or all wrong replaced, in up to 10
rounds of three times the prompts; 2048 + 20480 tokens, the last 4096 penalised. Of the one for 7B:
2048 + 8192 tokens, the last 4096 penalised, 200 steps, which stand here.

Unknown, and what stands here: Adam's betas, (.9, .999). On purpose otherwise: the problems are the
other recipes' instead of DAPO-Math-17k, so that methods differ in nothing else, with the chat
template's own system prompt; a round samples as many prompts as groups are missing.

Reported (32B, AIME24 avg@32): 50; verl's own run 52, without dynamic sampling 50, without token
mean as well 44. No 1.5B figure.
"""

from recipes.red_1p5b import recipe as red_1p5b
from red_mcore.algorithms.grpo import dapo
from red_mcore.recipe import Batch, Optimizer, Overlong, Recipe


def recipe() -> Recipe:
    r = red_1p5b()
    r.name = "paper_dapo"
    r.steps = 200
    r.algorithm = dapo()
    r.batch = Batch(
        prompts_per_step=512,
        samples_per_prompt=16,
        updates_per_step=16,
        refills=10,
        tokens_per_micro_batch=16384,
    )
    r.rollout.max_prompt_tokens = 2048
    r.reward.overlong = Overlong(buffer=4096)
    r.reward.wrong = -1.0
    r.optimizer = Optimizer(
        lr=1e-6, schedule="constant", warmup_steps=160, betas=(0.9, 0.999), weight_decay=0.1
    )
    return r
