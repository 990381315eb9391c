"""One step of an algorithm through packed micro-batches,
against a loss that a test writes in plain torch."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest
import torch
from one_step import Seen, group, seen
from torch import Tensor

from red_mcore.algorithms.base import GroupAlgorithm, losses_of
from red_mcore.megatron.packing import arrange, pack
from red_mcore.samples.records import Group, samples_of

CPU = torch.device("cpu")
BUDGETS = (1000, 20, 12)
"""Tokens of a micro-batch: all samples in one, several in each, one or two in each."""


def rollouts() -> list[Group]:
    """Three groups of rollouts with lengths of 1 to 8 and ratios within and beyond any clip;
    one of equal rewards."""
    draw, teacher = torch.Generator().manual_seed(3), torch.Generator().manual_seed(4)
    lengths = ((3, 1, 8, 5), (2, 2, 4, 7), (6, 1, 1, 3))
    rewards = ((1.0, 0.0, 0.0, 0.4), (1.0, 1.0, 0.0, -0.5), (0.0, 0.0, 0.0, 0.0))
    groups = []
    for sizes, values in zip(lengths, rewards, strict=True):
        samples = []
        for size, reward in zip(sizes, values, strict=True):
            p = torch.rand(size, generator=draw, dtype=torch.float64) * 0.8 + 0.1
            old = (
                p * torch.exp(0.5 * torch.randn(size, generator=draw, dtype=torch.float64))
            ).clamp(0.01, 0.99)
            sample = seen(p.tolist(), float(reward > 0.5), old=old.tolist())
            sample.reward = reward
            sample.teacher_logp = -3 * torch.rand(size, generator=teacher).numpy()
            samples.append(sample)
        groups.append(group(*samples))
    return groups


def packed_loss(
    algorithm: GroupAlgorithm, groups: Sequence[Group], budget: int
) -> tuple[Tensor, int]:
    """Sum over micro-batches of coefficient x token loss, and how many micro-batches there are."""
    kept, _ = algorithm.compose(groups, {}, 0)
    algorithm.aggregate(kept, algorithm.sequences(groups), {}, 0)
    algorithm.weigh(kept, {}, 0)
    components = sorted({name for sample in samples_of(kept) for name in sample.coefficient})
    plan = arrange([samples_of(kept)], budget)
    batches = pack(plan, 0, multiple=4, static=True, components=components, device=CPU)
    total = torch.zeros((), dtype=torch.float64)
    for batch in batches:
        logp = torch.full(
            batch.targets.shape, -1.0, dtype=torch.float64
        )  # prompts and padding have some, too
        entropy = torch.ones_like(logp)
        for sample, entries, tokens in batch.spans:
            place = (torch.from_numpy(entries),)
            logp = logp.index_put(place, sample.logp[torch.from_numpy(tokens)])
            entropy = entropy.index_put(place, sample.entropies[torch.from_numpy(tokens)])
        found = losses_of(algorithm, {}, 0)(batch.inputs(logp, entropy))
        for name in components:
            total = total + (batch.coefficient[name] * found[name]).sum()
    return total, len(batches)


def compare(
    algorithm: GroupAlgorithm, loss: Callable[[list[list[Seen]]], Tensor], *, values: bool = True
) -> None:
    """Loss and gradients of every token, whatever the micro-batches;
    ``loss`` is given all groups."""
    counts = set()
    for budget in BUDGETS:
        groups = rollouts()
        leaves = [s.logp for s in samples_of(groups)]
        expected = loss([g.samples for g in groups])
        theirs = _gradients(expected, leaves)
        ours, count = packed_loss(algorithm, groups, budget)
        if values:
            assert ours.item() == pytest.approx(expected.item(), rel=1e-5, abs=1e-7)
        for found, wanted in zip(_gradients(ours, leaves), theirs, strict=True):
            torch.testing.assert_close(found, wanted, rtol=1e-5, atol=1e-7)
        assert max(g.abs().max() for g in theirs) > 1e-3
        counts.add(count)
    assert min(counts) == 1 < 4 < max(counts)


def _gradients(loss: Tensor, leaves: Sequence[Tensor]) -> list[Tensor]:
    """Of the log-probs of every sample: zeros where it is left out."""
    found = torch.autograd.grad(loss, leaves, allow_unused=True)
    return [torch.zeros_like(x) if g is None else g for x, g in zip(leaves, found, strict=True)]
