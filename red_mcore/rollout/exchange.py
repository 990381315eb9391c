"""Who samples what, with which seed, and how the samples come together again."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any, TypeVar

from red_mcore.samples.records import Group, Problem, Sample

T = TypeVar("T")


def sample_seed(run_seed: int, *key: int) -> int:
    """A seed in [0, 2^63) that depends on nothing but the run's seed and ``key``, e.g. (step,
    problem, sample).

    Hashed, so that every bit range is well spread: PyTorch's CPU generator uses the low 32 bits
    only, and seeds that follow one another (prompt + 0, prompt + 1, ...) would be shared between
    neighbouring prompts.
    """
    text = ",".join(str(int(part)) for part in (run_seed, *key))
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "little") >> 1


def split_prompts(count: int, replicas: int, replica: int) -> list[int]:
    """Indices, out of ``count``, of one replica's prompts: every ``replicas``-th; shares differ by
    one at most."""
    return list(range(replica, count, replicas))


def gather_samples(
    mine: list[T], count: int, *, replicas: int, replica: int, is_leader: bool, group: Any = None
) -> list[T]:
    """All ``count`` items in prompt order on every rank, from each replica's own (those of
    ``split_prompts``).

    ``mine``: one item per prompt of this replica; ranks of a replica hold the same and only its
    leader's travel. ``group``: a gloo group of all ranks (None: the default group). Collective.
    Raises RuntimeError when a replica contributed another number of items than its share.
    """
    import torch.distributed as dist

    contribution = (replica, mine) if is_leader else None
    received: list[tuple[int, list[T]] | None] = [None] * dist.get_world_size(group)
    dist.all_gather_object(received, contribution, group=group)
    found: list[Any] = [None] * count
    for source, items in filter(None, received):
        share = len(split_prompts(count, replicas, source))
        if len(items) != share:
            raise RuntimeError(
                f"replica {source} sampled {len(items)} prompts, its share of {count} is {share}"
            )
        found[source::replicas] = items
    return found


def as_groups(problems: Sequence[Problem], samples: Sequence[list[Sample]]) -> list[Group]:
    """The samples of each problem with it."""
    return [Group(problem, found) for problem, found in zip(problems, samples, strict=True)]
