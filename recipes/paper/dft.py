"""DFT with its authors' settings for Qwen2.5-Math-1.5B (arXiv 2508.05629, code yongliang-wu/DFT).

Known: 100k solutions of NuminaMath-CoT, one epoch of 256 per update, lr 5e-5 after 10 % of warm-up,
cosine decay to 0, AdamW (.9, .95), weight decay .01, gradient clip 1, at most 2048 tokens, Qwen's
chat template; the model's positions as they are.

On purpose otherwise: solutions longer than 2048 tokens are left out, not cut. Where a solution has
no boxed answer the held-out problem has no gold that can be met.

Reported (1.5B, mean of 16 samples at temperature 1): better than SFT on mathematical benchmarks;
the table could not be read.
"""

from recipes.red_1p5b import recipe as red_1p5b
from red_mcore.algorithms.dft import DFT
from red_mcore.recipe import Batch, Data, Optimizer, Recipe, Reward

STEPS = 390  # 100 000 / 256


def recipe() -> Recipe:
    r = red_1p5b()
    r.name = "paper_dft"
    r.algorithm = DFT()
    r.steps = STEPS
    r.model.config = r.model.config | {"max_position_embeddings": 4096, "rope_theta": 10000.0}
    r.rollout.max_response_tokens = 2048
    r.batch = Batch(prompts_per_step=256, tokens_per_micro_batch=16384)
    r.optimizer = Optimizer(
        lr=5e-5, min_lr_ratio=0.0, warmup_steps=STEPS // 10, betas=(0.9, 0.95), weight_decay=0.01
    )
    r.data = Data(
        path="AI-MO/NuminaMath-CoT",
        split="train[:100256]",
        problem_field="problem",
        gold_field="solution",
        trace_field="solution",
        held_out=256,
    )
    r.reward = Reward(workers=2)
    r.evaluation.benchmarks.protocol.max_tokens = 2048  # beside OlympiadBench's longest prompt
    return r
