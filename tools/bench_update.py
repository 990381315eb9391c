"""Speed and memory of updates of a recipe's model, one arm after the other, in one run.

    torchrun --nproc-per-node 1 tools/bench_update.py recipes/red_1p5b.py \
        parallel.ranks=1 parallel.tensor=1 parallel.sequence=false \
        --arm model.layers=local --arm "offload.optimizer=true model.fp8=blockwise"

Each ``--arm`` holds overrides on top of the recipe; the layout (``parallel``) is the same for all.
An arm that cannot be run on one rank says why, and the others are measured all the same. The
weights are random, the sequences all of ``--length`` tokens, packed into ``--micro-batches`` full
micro-batches on each rank; GRPO on policy, so that an update is one forward, one backward and a
step of the optimizer. FLOPs are what the model needs (``red_mcore.planning.plan.training_flops``);
what activation recompute repeats does not count. Medians.
"""

from __future__ import annotations

import argparse
import gc
import shlex
import time

STEPS, WARM_UP = 4, 1


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("recipe")
    parser.add_argument("overrides", nargs="*", default=[])
    parser.add_argument("--length", type=int, default=2048, help="tokens of a sequence")
    parser.add_argument("--micro-batches", type=int, default=4)
    parser.add_argument("--arm", action="append", default=[], help="overrides of one arm")
    options = parser.parse_intermixed_args()

    from red_mcore.rollout.environment import set_environment

    set_environment(offline=True)
    import torch

    from red_mcore.config.loading import load
    from red_mcore.config.recipe import RecipeError
    from red_mcore.megatron import ranks, shim

    recipe = load(options.recipe, options.overrides)
    here = ranks.start(recipe.parallel, 0)
    if here.is_main:
        print(f"{here.world} x {shim.name()}, sequences of {options.length} tokens,", end=" ")
        print(f"{options.micro_batches} micro-batches of {recipe.batch.tokens_per_micro_batch}")
        print("| arm | tokens/s per rank | TFLOP/s per rank | seconds | peak GiB | estimated GiB |")
        print("|---|---|---|---|---|---|")
    for arm in options.arm or [""]:
        try:
            arm_recipe = load(options.recipe, [*options.overrides, *shlex.split(arm)])
            row = measure(arm_recipe, here, options.length, options.micro_batches)
        except (RuntimeError, RecipeError) as error:
            if here.world > 1:  # the other ranks wait in a collective
                raise
            row = [str(error).splitlines()[0]]
        gc.collect()  # the policy, which refers to itself
        if not shim.needed():
            torch.cuda.empty_cache()
        if here.is_main:
            print(f"| {arm or 'the recipe'} | {' | '.join(row)} |", flush=True)
    ranks.stop()


def measure(recipe, here, length: int, micro_batches: int) -> list[str]:
    import numpy as np
    import torch
    import torch.distributed as dist

    from red_mcore.algorithms.base import losses_of
    from red_mcore.algorithms.grpo import GRPO
    from red_mcore.config.recipe import Model
    from red_mcore.megatron import shim
    from red_mcore.megatron.policy import Policy
    from red_mcore.models.architecture import hf_config, read_architecture
    from red_mcore.planning.memory import estimate
    from red_mcore.planning.plan import training_flops
    from red_mcore.samples.records import Group, Problem, Sample

    arch = read_architecture(hf_config(Model(config=recipe.model.config)))
    policy = Policy(recipe, arch, here)
    policy.start_optimizers({"main": (recipe.optimizer, 100)})
    rng = np.random.default_rng(0)
    count = recipe.batch.tokens_per_micro_batch // length * micro_batches * here.data
    algorithm, groups = GRPO(constant=1000.0), []
    for i in range(count):
        response = rng.integers(5, arch.vocab_size, length - 16).astype(np.int32)
        sample = Sample(np.arange(16, dtype=np.int32), response, advantage=float(rng.normal()))
        sample.sampler_logp = np.zeros(length - 16, np.float32)
        groups.append(Group(Problem(i, "", ""), [sample]))
    algorithm.aggregate(groups, count, {}, 0)
    on_gpu = not shim.needed()
    seconds = []
    if on_gpu:
        torch.cuda.reset_peak_memory_stats()
    for step in range(-WARM_UP, STEPS):
        dist.barrier()
        begin = time.perf_counter()
        policy.backward(groups, losses_of(algorithm, {}, 0), on_policy=True)
        policy.step()
        dist.barrier()
        if step >= 0:
            seconds.append(time.perf_counter() - begin)
    peak = torch.cuda.max_memory_allocated() / 2**30 if on_gpu else float("nan")
    expected = estimate(recipe, arch, here.pipeline_rank, on_gpu)
    update = float(np.median(seconds))
    rate = count * length / update / here.world
    return [
        f"{rate:,.0f}",
        f"{rate * training_flops(arch, length) / 1e12:.0f}",
        f"{update:.2f}",
        f"{peak:.1f}",
        f"{(expected.update - expected.engine - expected.cache) / 2**30:.1f}",
    ]


if __name__ == "__main__":
    main()
