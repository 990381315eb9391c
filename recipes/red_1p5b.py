"""RED on Qwen2.5-Math-1.5B with the settings of the authors' code (arXiv 2508.16677), on one node
of eight GPUs.

What is known of them, what is not, and what the paper reports: ``recipes/paper/red.py``. The other
recipes in ``recipes/paper`` take model, ranks, data and lengths from here.

The base model's positions are extended to 16384 by a rope theta of 40000, as in the authors'
checkpoint. Problems and traces: 46k OpenR1-Math prompts with verified DeepSeek-R1 responses of
at most 8192 tokens.
"""

from red_mcore.algorithms.red import RED
from red_mcore.evaluation.protocols import red
from red_mcore.recipe import (
    Batch,
    Benchmarks,
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

BENCHMARKS = ["AIME24", "AIME25", "AMC23", "MATH-500", "Minerva", "OlympiadBench"]
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
        batch=Batch(
            prompts_per_step=64, samples_per_prompt=7, refills=6, tokens_per_micro_batch=16384
        ),
        rollout=Rollout(max_prompt_tokens=1024, max_response_tokens=8192, kv_cache_mib=24576),
        algorithm=RED(constant=3000.0, weight_min=1.0, weight_max=7.0),
        data=Data(path="Elliott/Openr1-Math-46k-8192", held_out=256),
        reward=Reward(workers=2, boxed_only=False, overlong=Overlong(buffer=2000)),
        optimizer=Optimizer(
            lr=2e-6, schedule="cosine", min_lr_ratio=0.1, betas=(0.9, 0.95), clip_grad=1.0
        ),
        checkpoint=Checkpoint(every=20),
        evaluation=Evaluation(
            every=50, samples=4, temperature=0.6, benchmarks=Benchmarks(BENCHMARKS, protocol=red())
        ),
    )
