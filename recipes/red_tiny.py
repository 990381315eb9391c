"""RED on a laptop: a 0.4M-parameter Qwen2 learns arithmetic from scratch, then RED makes it better;
two CPU cores.

The task, the base corpus with its misconceptions and the verbose teacher are
``red_mcore.data.arithmetic``. Everything else is the code that a cluster runs: Megatron-Core ranks,
vLLM, math-verify, MLflow.
"""

from red_mcore.algorithms.red import RED
from red_mcore.recipe import (
    Base,
    Batch,
    Checkpoint,
    Data,
    Model,
    Optimizer,
    Parallel,
    Recipe,
    Rollout,
)

QWEN2_TINY = {
    "model_type": "qwen2",
    "vocab_size": 262,  # the built-in tokenizer: bytes, \boxed{ and five special tokens
    "hidden_size": 128,
    "intermediate_size": 256,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 4096,
    "rope_theta": 10000.0,
    "tie_word_embeddings": False,
    "initializer_range": 0.05,
}


def recipe() -> Recipe:
    return Recipe(
        name="red_tiny",
        model=Model(config=QWEN2_TINY),
        parallel=Parallel(ranks=2),
        steps=150,
        batch=Batch(prompts_per_step=24, samples_per_prompt=7, tokens_per_micro_batch=8192),
        rollout=Rollout(
            max_prompt_tokens=32, max_response_tokens=80, kv_cache_mib=128, logprob_gap_limit=1e-3
        ),
        algorithm=RED(constant=80.0),
        data=Data(problems=2048, held_out=512),
        optimizer=Optimizer(lr=6e-4, warmup_steps=2),
        base=Base(
            steps=500,
            sequences_per_step=128,
            optimizer=Optimizer(lr=2e-3, warmup_steps=30, weight_decay=0.01),
        ),
        checkpoint=Checkpoint(every=50),
    )
