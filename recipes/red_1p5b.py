"""RED on Qwen2.5-Math-1.5B, the settings of the authors' code (arXiv 2508.16677), on one node of eight GPUs.

64 prompts x (7 rollouts + 1 trace of a larger teacher), one update per step, learning rate 2e-6 with cosine decay to a
tenth, no KL term, responses up to 8192 tokens. The base model's positions are extended to 16384 by a rope theta of
40000, as in the authors' checkpoint. Problems and traces: OpenR1-Math prompts with DeepSeek-R1 responses of at most
8192 tokens.

Reported by the paper (pass@1, other harnesses differ by far, so compare within one): MATH-500 65.5 against 63.8 for
LUFFY and about 60.2 for SFT+GRPO; mean response length 2050 tokens.
"""

from red_mcore.algorithms.red import RED
from red_mcore.recipe import (
    Batch,
    Checkpoint,
    Data,
    Evaluation,
    Model,
    Optimizer,
    Overlong,
    Parallel,
    Recipe,
    Reward,
    Rollout,
)

QWEN25_MATH_1P5B = {
    "model_type": "qwen2",
    "vocab_size": 151936,
    "hidden_size": 1536,
    "intermediate_size": 8960,
    "num_hidden_layers": 28,
    "num_attention_heads": 12,
    "num_key_value_heads": 2,
    "tie_word_embeddings": True,
    "rms_norm_eps": 1e-6,
    "max_position_embeddings": 16384,
    "rope_theta": 40000.0,
}


def recipe() -> Recipe:
    return Recipe(
        name="red_1p5b",
        model=Model(path="Qwen/Qwen2.5-Math-1.5B", config=QWEN25_MATH_1P5B, dtype="bfloat16"),
        parallel=Parallel(ranks=8, tensor=2, pipeline=1, sequence=True),
        steps=500,
        batch=Batch(prompts_per_step=64, samples_per_prompt=7, tokens_per_micro_batch=16384),
        rollout=Rollout(max_prompt_tokens=1024, max_response_tokens=8192, kv_cache_mib=24576),
        algorithm=RED(constant=3000.0, weight_min=1.0, weight_max=7.0),
        data=Data(path="Elliott/Openr1-Math-46k-8192", held_out=256),
        reward=Reward(workers=2, boxed_only=False, overlong=Overlong(buffer=2000)),
        optimizer=Optimizer(lr=2e-6, schedule="cosine", min_lr_ratio=0.1, betas=(0.9, 0.95), clip_grad=1.0),
        checkpoint=Checkpoint(every=20),
        evaluation=Evaluation(every=50, samples=4),
    )
