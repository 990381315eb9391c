"""From groups of samples to packed micro-batches, the same plan on every rank.

Every rank knows all samples, so dealing and packing need no communication: each rank computes the
whole plan and builds tensors for its own share alone.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from red_mcore.losses.inputs import LossInputs, Sequences, same
from red_mcore.megatron.attention import Packing, chunks_of, local_order
from red_mcore.megatron.ranks import sum_over_context
from red_mcore.samples.records import Group, Sample

_TOKEN_FIELDS = ("old_logp", "ref_logp", "teacher_logp")
_SAMPLE_FIELDS = ("advantage", "beta", "weight", "is_offline")


class Span(NamedTuple):
    """Where a sample stands in a micro-batch: under context parallel a part of it, or nothing."""

    sample: Sample
    entries: np.ndarray
    """The entries of the micro-batch's tensors that predict its response."""
    tokens: np.ndarray
    """Which tokens of the response they predict."""


@dataclass
class MicroBatch:
    """Packed sequences of one forward and backward, or what a context-parallel rank holds of them.

    Entry t of every [T] tensor speaks of predicting the token that follows token t in its sequence.
    """

    tokens: Tensor
    """[1, T] int64."""
    targets: Tensor
    """[T] int64, the next token within the sequence; 0 where there is none."""
    packing: Packing
    coefficient: dict[str, Tensor]
    """Component -> [T] float32: what multiplies its token loss, denominators included; 0 off the
    component's tokens."""
    fields: dict[str, Tensor]
    """``advantage``, ``beta``, ``weight``, ``is_offline``, ``old_logp``, ``ref_logp``,
    ``teacher_logp``: [T] float32, 0 off responses.

    A log-prob that not all samples have is left out, so that a loss which needs it fails instead of
    reading zeros.
    """
    sequences: Sequences
    """The samples in their order, and the padding."""
    spans: list[Span]
    """The samples in their order."""

    def inputs(self, logp: Tensor, entropy: Tensor) -> LossInputs:
        """What token losses are given, with ``logp`` and ``entropy`` [T] of the policy as it is
        now."""
        fields = self.fields
        return LossInputs(
            logp=logp,
            entropy=entropy,
            advantage=fields["advantage"],
            beta=fields["beta"],
            weight=fields["weight"],
            is_offline=fields["is_offline"],
            sequences=self.sequences,
            scored_logp=fields.get("old_logp"),
            reference_logp=fields.get("ref_logp"),
            teacher_logp=fields.get("teacher_logp"),
        )

    def refresh(self, name: str) -> None:
        """Write the per-sample field ``name`` anew, where samples have changed since packing."""
        for span in self.spans:
            self.fields[name][span.entries] = getattr(span.sample, name)


def deal(groups: Sequence[Group], ranks: int, hidden_size: int) -> list[list[Sample]]:
    """Samples of each data-parallel rank: whole groups, the dearest first to the rank with the
    least work so far."""
    priced = []
    for place, group in enumerate(groups):
        priced.append((_work(group.samples, hidden_size), place, group.samples))
    work = np.zeros(ranks)
    shares: list[list[Sample]] = [[] for _ in range(ranks)]
    # The place decides between equal costs, so that every rank deals alike.
    for cost, _, samples in sorted(priced, key=lambda found: found[:2], reverse=True):
        rank = work.argmin()  # the first of equals
        work[rank] += cost
        shares[rank] += samples
    return shares


def imbalance(shares: Sequence[Sequence[Sample]], hidden_size: int) -> float:
    """Work of the data-parallel rank that has the most, over the mean; 1 is perfect."""
    work = [_work(share, hidden_size) for share in shares]
    return max(work) * len(work) / sum(work)


def _work(samples: Iterable[Sample], hidden_size: int) -> float:
    """Relative FLOPs of these samples.

    A layer's matrices cost about 24 h^2 per token, causal attention about 2 h per token and
    position.
    """
    return sum(s.tokens * (1 + s.tokens / (12 * hidden_size)) for s in samples)


def bins(samples: Sequence[Sample], budget: int) -> list[list[Sample]]:
    """First-fit decreasing: samples whose tokens fit ``budget`` together."""
    out: list[list[Sample]] = []
    room: list[int] = []
    # A stable sort, also in reverse: equally long samples keep their order on every rank.
    for sample in sorted(samples, key=lambda s: s.tokens, reverse=True):
        size = sample.tokens
        if size > budget:
            raise ValueError(
                f"a sequence of {size} tokens exceeds the micro-batch budget of {budget} tokens"
            )
        slot = next((b for b, free in enumerate(room) if free >= size), len(out))
        if slot == len(out):
            out.append([])
            room.append(budget)
        out[slot].append(sample)
        room[slot] -= size
    return out


@dataclass(frozen=True)
class Plan:
    """The samples of each data-parallel rank's micro-batches: as many on every rank, some perhaps
    empty."""

    batches: list[list[list[Sample]]]
    """``[rank][micro-batch]``."""
    turn: int
    """A micro-batch, the same one on every rank. Where traces come last, none has a trace before
    it and none has a rollout after it; otherwise the last one."""

    @property
    def late(self) -> list[Sample]:
        """The traces, of all ranks, that come after the turn."""
        found: list[Sample] = []
        for batches in self.batches:
            found += chain.from_iterable(batches[self.turn + 1 :])
        return found


def arrange(
    shares: Sequence[Sequence[Sample]], budget: int, *, rounds: int = 1, offline_last: bool = False
) -> Plan:
    """First-fit decreasing, on each rank for itself; ``offline_last`` puts the traces behind the
    rollouts.

    The number of micro-batches is a multiple of ``rounds`` (interleaved pipelines). A rank with
    fewer samples than others has empty micro-batches, before its rollouts or after its traces, so
    that the turn comes to all at once.
    """
    halves = [_halves(share, budget, offline_last) for share in shares]
    most_before = max(len(before) for before, _ in halves)
    most_after = max(1, *(len(after) for _, after in halves))
    count = _padded(most_before + most_after, rounds)
    turn = count - most_after
    plan = []
    for before, after in halves:
        batches: list[list[Sample]] = [[] for _ in range(count)]
        batches[turn - len(before) : turn] = before
        batches[turn : turn + len(after)] = after
        plan.append(batches)
    return Plan(plan, turn)


def _halves(
    samples: Sequence[Sample], budget: int, offline_last: bool
) -> tuple[list[list[Sample]], list[list[Sample]]]:
    """Micro-batches before the turn, and from it on: the traces, with the last rollouts if there
    is room for all."""
    late = [s for s in samples if offline_last and s.is_offline]
    early = [s for s in samples if not (offline_last and s.is_offline)]
    before, after = bins(early, budget), bins(late, budget)
    if before and len(after) <= 1:
        joined = sum(after, before[-1])
        if sum(s.tokens for s in joined) <= budget:
            return before[:-1], [joined]
    return before, after


def pack(
    plan: Plan,
    rank: int,
    *,
    multiple: int,
    static: bool,
    context: tuple[int, int] = (0, 1),
    components: Sequence[str],
    device: torch.device,
) -> list[MicroBatch]:
    """Micro-batches of data-parallel ``rank``.

    ``multiple`` pads each to a multiple (sequence parallel), ``static`` pads all ranks'
    micro-batches to one common length, as pipeline stages and holders of experts that exchange
    activations of a fixed shape need. ``context``, (rank, ranks), splits each micro-batch over
    context-parallel ranks; what pads its sequences (``local_order``) comes on top of the plan's
    budget. An empty micro-batch is padding alone; its loss is an exact 0.
    """
    unit = chunks_of(context[1])
    least = 1
    if static:
        least = max(_length(samples, unit) for samples in chain.from_iterable(plan.batches))
    out = []
    for samples in plan.batches[rank]:
        length = max(least, _length(samples, unit), 1)
        length = _padded(length, math.lcm(unit, context[1] * multiple))
        out.append(_build(samples, length, unit, context, components, device))
    return out


def _length(samples: Sequence[Sample], unit: int) -> int:
    """Tokens of the samples, each padded to a multiple of ``unit``."""
    return sum(_padded(s.tokens, unit) for s in samples)


def _padded(number: int, multiple: int) -> int:
    return -(-number // multiple) * multiple


def _build(
    samples: Sequence[Sample],
    length: int,
    unit: int,
    context: tuple[int, int],
    components: Sequence[str],
    device: torch.device,
) -> MicroBatch:
    """A micro-batch of ``length`` tokens in all, each sequence padded to a multiple of ``unit``."""

    def zeros(names: Iterable[str]) -> dict[str, np.ndarray]:
        return {name: np.zeros(length, np.float32) for name in names}

    tokens = np.zeros(length, np.int64)
    targets = np.zeros(length, np.int64)
    coefficient = zeros(components)
    fields = zeros(_SAMPLE_FIELDS)
    for name in _TOKEN_FIELDS:
        if all(getattr(s, name) is not None for s in samples):
            fields |= zeros([name])
    response = np.zeros(length, bool)
    places, sizes, lengths, at = [], [], [], 0
    for sample in samples:
        end = at + sample.tokens
        tokens[at:end] = np.concatenate((sample.prompt, sample.response))
        targets[at : end - 1] = tokens[at + 1 : end]
        # A token is predicted by the one before it: the first by the prompt's last.
        place = slice(at + len(sample.prompt) - 1, end - 1)
        places.append((sample, place))
        response[place] = True
        for name in components:
            coefficient[name][place] = sample.coefficient.get(name, 0.0)
        for name, field in fields.items():
            field[place] = getattr(sample, name)
        sizes.append(len(sample.response))
        lengths.append(_padded(sample.tokens, unit))
        at += lengths[-1]
    if at < length:  # the padding is a sequence of its own: no other sequence sees it
        sizes.append(0)
        lengths.append(length - at)
    held = local_order(lengths, *context).numpy()
    entry = np.full(length, -1)
    entry[held] = np.arange(len(held))
    spans = []
    for sample, place in places:
        here = np.flatnonzero(entry[place] >= 0)
        spans.append(Span(sample, entry[place][here], here))

    def local(whole: np.ndarray) -> Tensor:
        return torch.from_numpy(whole[held]).to(device)

    def all_local(arrays: dict[str, np.ndarray]) -> dict[str, Tensor]:
        return {name: local(whole) for name, whole in arrays.items()}

    return MicroBatch(
        tokens=local(tokens)[None],
        targets=local(targets),
        packing=Packing.of(lengths, device, *context),
        coefficient=all_local(coefficient),
        fields=all_local(fields),
        sequences=Sequences(
            held=[n // context[1] for n in lengths],
            response=local(response),
            lengths=torch.tensor(sizes, dtype=torch.float32, device=device),
            over_context=sum_over_context if context[1] > 1 else same,
        ),
        spans=spans,
    )
