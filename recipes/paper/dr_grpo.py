"""Dr.GRPO with its authors' script for Qwen2.5-Math-1.5B (arXiv 2503.20783, code
sail-sg/understand-r1-zero).

Known: 128 prompts x 8 rollouts, updates of 128 sequences, lr 1e-6 constant, no KL term, clip .2,
1024 + 3000 tokens, temperature 1, no reward for answers that were cut off, the 12k training
problems of MATH, 20 times over them at most, Qwen's chat template, answers in a box; the model's
positions as they are, 4096.

Unknown, and what stands here: Adam's betas and weight decay, (.9, .95) and 0; gradient clip, 1; the
step at which the released model was taken, all 20 epochs stand here.

Reported (1.5B, greedy, 3000 tokens, template r1 or Qwen's not told apart): AIME24 20.0, AMC 53.0,
MATH-500 74.2, Minerva 25.7, Olympiad 37.6, mean 42.1; untrained with Qwen's template 20.0, 32.5,
33.0, 12.5, 22.8, mean 24.2; without any template the mean is 33.1.
"""

from recipes.red_1p5b import recipe as red_1p5b
from red_mcore.algorithms.grpo import dr_grpo
from red_mcore.recipe import Batch, Data, Optimizer, Recipe, Reward


def recipe() -> Recipe:
    r = red_1p5b()
    r.name = "paper_dr_grpo"
    r.steps = 1835  # 20 x (12 000 - 256 held out) / 128
    r.model.config = r.model.config | {"max_position_embeddings": 4096, "rope_theta": 10000.0}
    r.rollout.max_response_tokens = 3000
    r.algorithm = dr_grpo(r.rollout.max_response_tokens)
    r.batch = Batch(
        prompts_per_step=128, samples_per_prompt=8, updates_per_step=8, tokens_per_micro_batch=16384
    )
    r.optimizer = Optimizer(lr=1e-6, schedule="constant", betas=(0.9, 0.95))
    r.data = Data(path="hiyouga/math12k", held_out=256)
    r.reward = Reward(workers=2, truncated="wrong")
    r.evaluation.benchmarks.protocol.max_tokens = 2048  # beside OlympiadBench's longest prompt
    return r
