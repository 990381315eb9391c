"""GRPO on a pretrained model: any supported Hugging Face folder or hub name, any data with
checkable answers.

    python -m red_mcore.run recipes/hf/grpo.py name=NAME model.path=FOLDER \\
        data.path=FILE data.held_out_path=FILE

What stands here is a start for models of 0.1 to 3 billion parameters that answer in a chat;
``docs/your_model.md`` goes through it. Each problem is followed by the sentence that asks for
``\\boxed{}``. Advantages are rewards minus their group's mean, and the sums over tokens are divided
by the longest that a response may be (Dr.GRPO), also where ``rollout.max_response_tokens`` is
overridden. RL moves a pretrained model with small steps: 1e-6, constant. An answer outside a box
counts, too, where there is no box: small models forget it. Activations are computed again, so that
0.5 billion parameters take some 17 GiB of a GPU and 1.5 billion 45.

The other recipes of this folder take all that is not their method's from here.
"""

from red_mcore.algorithms.grpo import GRPO
from red_mcore.recipe import (
    Batch,
    Checkpoint,
    Data,
    Evaluation,
    Model,
    Optimizer,
    Parallel,
    Protocol,
    Recipe,
    Reward,
    Rollout,
)


def recipe() -> Recipe:
    return Recipe(
        name="hf_grpo",
        model=Model(path="Qwen/Qwen2.5-0.5B-Instruct", dtype="bfloat16"),
        parallel=Parallel(ranks=1, recompute="full"),
        steps=200,
        batch=Batch(prompts_per_step=64, samples_per_prompt=8, tokens_per_micro_batch=16384),
        rollout=Rollout(max_prompt_tokens=512, max_response_tokens=1024, kv_cache_mib=4096),
        algorithm=GRPO(std_normalise=False, aggregation="constant", constant=None),
        data=Data(
            path="openai/gsm8k",
            subset="main",
            held_out_path="openai/gsm8k",
            held_out=512,
            instruction=Protocol().instruction,
        ),
        reward=Reward(workers=2, boxed_only=False),
        optimizer=Optimizer(lr=1e-6, schedule="constant", warmup_steps=5),
        checkpoint=Checkpoint(every=50),
        evaluation=Evaluation(every=50, samples=4),
    )
