"""Tokens per second of an update on packed micro-batches against padded ones, in one run.

    python tools/bench_packing.py [field=value ...]

Response lengths are log-normal and cut at the limit, as those of long chains of thought: many
short, a few long. The padded arm takes as many sequences to a micro-batch as the longest allowed
ones fill it, and pads all of them to the longest that is there. Only real tokens count. The arms
alternate; medians.
"""

from __future__ import annotations

import os
import sys
import tempfile
import time
from pathlib import Path
from unittest.mock import patch

STEPS = 5
SEQUENCES, PROMPT_TOKENS = 128, 32
MEDIAN_TOKENS, SPREAD, LIMIT = 150, 0.9, 992
"""Of the responses; one in ten is more than three times as long as the median."""
ALONE = {"RANK": "0", "WORLD_SIZE": "1", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "29511"}


def main(overrides: list[str]) -> None:
    from red_mcore.rollout.environment import set_environment

    set_environment(offline=True)
    os.environ.update(ALONE)
    import numpy as np
    import torch

    from red_mcore.algorithms.base import losses_of
    from red_mcore.algorithms.grpo import GRPO
    from red_mcore.config.loading import load
    from red_mcore.convert import hf
    from red_mcore.data.tokenizer import build_tokenizer
    from red_mcore.megatron import packing, ranks
    from red_mcore.megatron.policy import Policy
    from red_mcore.models.architecture import read_architecture
    from red_mcore.samples.records import Group, Problem, Sample

    recipe = load("recipes/red_tiny.py", ["parallel.ranks=1", *overrides])
    here = ranks.start(recipe.parallel, 0)
    arch = read_architecture(recipe.model.config)
    policy = Policy(recipe, arch, here)
    with tempfile.TemporaryDirectory() as folder:
        hf.make_fresh(recipe.model.config, build_tokenizer(), Path(folder), 0, torch.float32)
        hf.load_weights(policy.model, arch, Path(folder))
    policy.start_optimizers({"main": (recipe.optimizer, 10 * STEPS)})
    algorithm = GRPO(aggregation="constant", constant=80.0)
    count = recipe.batch.tokens_per_micro_batch // (PROMPT_TOKENS + LIMIT)

    def draw(seed: int) -> list[int]:
        rng = np.random.default_rng(seed)
        return np.minimum(
            LIMIT, rng.lognormal(np.log(MEDIAN_TOKENS), SPREAD, SEQUENCES).astype(int) + 1
        ).tolist()

    def update(lengths: list[int]) -> None:
        rng = np.random.default_rng(0)
        samples = []
        for n in lengths:
            ids = rng.integers(0, 256, PROMPT_TOKENS + n).astype(np.int32)
            sample = Sample(ids[:PROMPT_TOKENS], ids[PROMPT_TOKENS:], advantage=1.0)
            sample.sampler_logp = np.zeros(n, np.float32)
            samples.append(sample)
        groups = [Group(Problem(0, "", ""), samples)]
        algorithm.aggregate(groups, SEQUENCES, {}, 0)
        policy.backward(groups, losses_of(algorithm, {}, 0), on_policy=True)
        policy.step()

    def padded(lengths: list[int]) -> None:
        batches = [range(i, i + count) for i in range(0, SEQUENCES, count)]
        longest = [max(lengths[i] for i in batch) for batch in batches]
        with patch.object(
            packing, "bins", lambda samples, budget: [list(batch) for batch in batches]
        ):
            update([longest[i // count] for i in range(SEQUENCES)])

    arms = {"padded": padded, "packed": update}
    rates = {name: [] for name in arms}
    for step in range(-1, STEPS):  # one round to warm up
        lengths = draw(step + 1)
        for name, run in arms.items():
            begin = time.perf_counter()
            run(lengths)
            if step >= 0:
                tokens = sum(lengths) + SEQUENCES * PROMPT_TOKENS
                rates[name].append(tokens / (time.perf_counter() - begin))
    base = np.median(rates["padded"])
    mean = np.mean(lengths)
    print(f"{SEQUENCES} sequences, {mean:.0f} response tokens on average, median of {STEPS}")
    for name, found in rates.items():
        print(f"{name}  {np.median(found):7.0f} tokens/s   {np.median(found) / base:5.2f} x padded")
    ranks.stop()


if __name__ == "__main__":
    main(sys.argv[1:])
