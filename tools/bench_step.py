"""Seconds of one RED update against one GRPO update of the same tokens, in one run.

    torchrun --nproc-per-node 2 tools/bench_step.py [field=value ...]

Without more it is two data-parallel ranks, with parallel.tensor=2 one model over two ranks, with
batch.tokens_per_micro_batch=1024 many micro-batches.

RED is timed as the loop does it (entropies come from the training pass, but for traces that it
meets too late) and with everything scored ahead. GRPO trains on the same sequences, traces counted
as rollouts. The three alternate, so that a busy machine slows all alike; medians.
"""

from __future__ import annotations

import os
import sys
import tempfile
import time
from pathlib import Path

STEPS = 15
PROMPTS, ROLLOUTS = 24, 7
PROMPT_TOKENS, ROLLOUT_TOKENS, TRACE_TOKENS = 19, 40, 54
"""Mean lengths of the demo."""


def main(overrides: list[str]) -> None:
    from red_mcore.rollout.environment import set_environment

    set_environment(offline=True)
    import numpy as np
    import torch
    import torch.distributed as dist

    from red_mcore.algorithms.base import losses_of
    from red_mcore.algorithms.grpo import GRPO
    from red_mcore.algorithms.red import RED
    from red_mcore.config.loading import load
    from red_mcore.convert import hf
    from red_mcore.data.tokenizer import build_tokenizer
    from red_mcore.megatron import ranks
    from red_mcore.megatron.policy import Policy
    from red_mcore.models.architecture import read_architecture
    from red_mcore.samples.records import Group, Problem, Sample

    world = os.environ["WORLD_SIZE"]
    recipe = load("recipes/red_tiny.py", [f"parallel.ranks={world}", *overrides])
    here = ranks.start(recipe.parallel, 0)
    arch = read_architecture(recipe.model.config)
    folder = Path(ranks.from_main(tempfile.mkdtemp()))
    if here.is_main:
        hf.make_fresh(recipe.model.config, build_tokenizer(), folder, 0, torch.float32)
    dist.barrier()
    policy = Policy(recipe, arch, here)
    hf.load_weights(policy.model, arch, folder)
    policy.start_optimizers({"main": (recipe.optimizer, 10 * STEPS)})
    red, grpo = RED(constant=80.0), GRPO(aggregation="constant", constant=80.0)

    def make(seed: int, with_trace: bool) -> list[Group]:
        rng = np.random.default_rng(seed)
        groups = []
        for i in range(PROMPTS):
            prompt = rng.integers(0, 256, PROMPT_TOKENS).astype(np.int32)
            samples = []
            for j in range(ROLLOUTS + 1):
                mean = ROLLOUT_TOKENS if j else TRACE_TOKENS
                response = rng.integers(0, 256, rng.integers(mean // 2, 3 * mean // 2)).astype(
                    np.int32
                )
                right = float(j == 0 or rng.random() < 0.3)
                sample = Sample(
                    prompt, response, is_offline=with_trace and j == 0, accuracy=right, reward=right
                )
                if not sample.is_offline:
                    sample.sampler_logp = np.zeros(len(response), np.float32)
                samples.append(sample)
            groups.append(Group(Problem(i, "", ""), samples))
        return groups

    def finish(algorithm, groups, **how) -> None:
        algorithm.aggregate(groups, len(groups) * (ROLLOUTS + 1), {}, 0)
        policy.backward(groups, losses_of(algorithm, {}, 0), **how)
        policy.step()

    def one_pass(groups, state={}) -> None:  # noqa: B006 - the state lasts between the calls
        red.compose(groups, {}, 0)
        finish(red, groups, on_policy=True, weigh=lambda: red.weigh(groups, state, 0))

    def two_pass(groups, state={}) -> None:  # noqa: B006
        red.compose(groups, {}, 0)
        policy.score(groups)
        red.weigh(groups, state, 0)
        finish(red, groups)

    def rollouts_only(groups) -> None:
        grpo.compose(groups, {}, 0)
        finish(grpo, groups, on_policy=True)

    arms = {
        "GRPO": (rollouts_only, False),
        "RED, one pass": (one_pass, True),
        "RED, two passes": (two_pass, True),
    }
    seconds = {name: [] for name in arms}
    for step in range(-2, STEPS):  # two rounds to warm up
        for name, (run, with_trace) in arms.items():
            groups = make(step + 2, with_trace)
            dist.barrier()
            begin = time.perf_counter()
            run(groups)
            dist.barrier()
            if step >= 0:
                seconds[name].append(time.perf_counter() - begin)
    if here.is_main:
        base = np.median(seconds["GRPO"])
        tokens = sum(g.tokens for g in make(2, True))
        print(
            f"{world} ranks {' '.join(overrides)}, about {tokens} tokens a step, median of {STEPS}"
        )
        for name, times in seconds.items():
            print(f"{name:16s} {np.median(times):7.3f} s   {np.median(times) / base:5.2f} x GRPO")
    ranks.stop()


if __name__ == "__main__":
    main(sys.argv[1:])
