"""From groups of samples to packed micro-batches, the same plan on every rank.

Every rank knows all samples, so dealing and packing need no communication: each rank computes the whole plan and builds
tensors for its own share alone.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from red_mcore.losses.inputs import LossInputs, Sequences, same
from red_mcore.megatron.attention import Packing, local_order
from red_mcore.megatron.ranks import sum_over_context
from red_mcore.samples.records import Group, Sample

_TOKEN_FIELDS = ("old_logp", "ref_logp", "teacher_logp")
_SAMPLE_FIELDS = ("advantage", "beta", "weight", "is_offline")


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
    """Component -> [T] float32: what multiplies its token loss, denominators included; 0 off the component's tokens."""
    fields: dict[str, Tensor]
    """``advantage``, ``beta``, ``weight``, ``is_offline``, ``old_logp``, ``ref_logp``,
    ``teacher_logp``: [T] float32, 0 off responses.

    A log-prob that not all samples have is left out, so that a loss which needs it fails instead of reading zeros.
    """
    sequences: Sequences
    """The samples in their order, and the padding."""
    spans: list[tuple[Sample, np.ndarray, np.ndarray]]
    """Each sample, the entries that predict its response, and which of its tokens they predict; the latter two hold a
    part of it, or nothing, under context parallel."""

    def inputs(self, logp: Tensor, entropy: Tensor) -> LossInputs:
        """What token losses are given, with ``logp`` and ``entropy`` [T] of the policy as it is now."""
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
        """Write the per-sample field ``name`` anew, where the samples' values have changed since packing."""
        for sample, entries, _ in self.spans:
            self.fields[name][entries] = getattr(sample, name)


def deal(groups: Sequence[Group], ranks: int, hidden_size: int) -> list[list[Sample]]:
    """Samples of each data-parallel rank: whole groups, the dearest first to the rank with the least work so far."""
    work = [0.0] * ranks
    shares: list[list[Sample]] = [[] for _ in range(ranks)]
    priced = sorted(
        ((sum(_cost(s, hidden_size) for s in g.samples), i) for i, g in enumerate(groups)),
        reverse=True,
    )
    for cost, i in priced:
        rank = min(range(ranks), key=lambda r: (work[r], r))
        work[rank] += cost
        shares[rank].extend(groups[i].samples)
    return shares


def imbalance(shares: Sequence[Sequence[Sample]], hidden_size: int) -> float:
    """Work of the data-parallel rank that has the most, over the mean; 1 is perfect."""
    work = [sum(_cost(s, hidden_size) for s in share) for share in shares]
    return max(work) * len(work) / sum(work)


def _cost(sample: Sample, hidden_size: int) -> float:
    """Relative FLOPs: a layer's matrices cost about 24 h^2 per token, causal attention about 2 h per token and
    position."""
    return sample.tokens * (1 + sample.tokens / (12 * hidden_size))


def bins(samples: Sequence[Sample], budget: int) -> list[list[int]]:
    """First-fit decreasing: indices of samples whose tokens fit ``budget`` together."""
    out: list[list[int]] = []
    room: list[int] = []
    for i in sorted(range(len(samples)), key=lambda i: (-samples[i].tokens, i)):
        size = samples[i].tokens
        if size > budget:
            raise ValueError(
                f"a sequence of {size} tokens exceeds the micro-batch budget of {budget} tokens"
            )
        slot = next((b for b, free in enumerate(room) if free >= size), None)
        if slot is None:
            out.append([])
            room.append(budget)
            slot = len(out) - 1
        out[slot].append(i)
        room[slot] -= size
    return out


@dataclass(frozen=True)
class Plan:
    """The samples of each data-parallel rank's micro-batches: as many on every rank, some perhaps empty."""

    batches: list[list[list[Sample]]]
    """``[rank][micro-batch]``."""
    turn: int
    """A micro-batch, the same one on every rank. Where traces come last, none has a trace before it and none has a
    rollout after it; otherwise the last one."""

    @property
    def late(self) -> list[Sample]:
        """The traces, of all ranks, that come after the turn."""
        return [
            s for batches in self.batches for samples in batches[self.turn + 1 :] for s in samples
        ]


def arrange(
    shares: Sequence[Sequence[Sample]], budget: int, *, rounds: int = 1, offline_last: bool = False
) -> Plan:
    """First-fit decreasing, on each rank for itself; ``offline_last`` puts the traces behind the rollouts.

    The number of micro-batches is a multiple of ``rounds`` (interleaved pipelines). A rank with fewer samples than
    others has empty micro-batches, before its rollouts or after its traces, so that the turn comes to all at once.
    """
    halves = [_halves(share, budget, offline_last) for share in shares]
    turn = max(len(before) for before, _ in halves)
    count = turn + max(1, *(len(rest) for _, rest in halves))
    turn += _padded(count, rounds) - count
    count = _padded(count, rounds)

    def aligned(before: list, rest: list) -> list:
        return (
            [[] for _ in range(turn - len(before))]
            + before
            + rest
            + [[] for _ in range(count - turn - len(rest))]
        )

    return Plan([aligned(*both) for both in halves], turn)


def _halves(
    samples: Sequence[Sample], budget: int, offline_last: bool
) -> tuple[list[list[Sample]], list[list[Sample]]]:
    """Micro-batches before the turn, and from it on: the traces, with the last rollouts if there is room for all."""
    parts = (
        [s for s in samples if (offline_last and s.is_offline) is late] for late in (False, True)
    )
    before, rest = ([[part[i] for i in b] for b in bins(part, budget)] for part in parts)
    if (
        before
        and len(rest) <= 1
        and sum(s.tokens for b in (before[-1], *rest) for s in b) <= budget
    ):
        return before[:-1], [sum(rest, before[-1])]
    return before, rest


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

    ``multiple`` pads each to a multiple (sequence parallel), ``static`` pads all ranks' micro-batches to one common
    length, as pipeline stages and holders of experts that exchange activations of a fixed shape need. ``context``,
    (rank, ranks), splits each micro-batch over context-parallel ranks; what pads its sequences (``local_order``) comes
    on top of the plan's budget. An empty micro-batch is padding alone; its loss is an exact 0.
    """
    unit = 2 * context[1] if context[1] > 1 else 1
    lengths = [
        [sum(_padded(s.tokens, unit) for s in b) for b in batches] for batches in plan.batches
    ]
    common = max(length for rank_lengths in lengths for length in rank_lengths)
    out = []
    for samples, used in zip(plan.batches[rank], lengths[rank], strict=True):
        length = _padded(max(common if static else used, 1), math.lcm(unit, context[1] * multiple))
        out.append(_build(samples, length, unit, context, components, device))
    return out


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
    tokens = np.zeros(length, np.int64)
    targets = np.zeros(length, np.int64)
    coefficient = {name: np.zeros(length, np.float32) for name in components}
    scored = [name for name in _TOKEN_FIELDS if all(getattr(s, name) is not None for s in samples)]
    fields = {name: np.zeros(length, np.float32) for name in (*_SAMPLE_FIELDS, *scored)}
    response = np.zeros(length, bool)
    spans, lengths, at = [], [], 0
    for sample in samples:
        end = at + sample.tokens
        tokens[at:end] = np.concatenate((sample.prompt, sample.response))
        targets[at : end - 1] = tokens[at + 1 : end]
        span = slice(at + len(sample.prompt) - 1, end - 1)
        spans.append((sample, span))
        response[span] = True
        for name in components:
            coefficient[name][span] = sample.coefficient.get(name, 0.0)
        for name, field in fields.items():
            field[span] = getattr(sample, name)
        lengths.append(_padded(sample.tokens, unit))
        at += lengths[-1]
    if at < length:
        lengths.append(
            length - at
        )  # the padding is a sequence of its own: no other sequence sees it
    sizes = [len(sample.response) for sample in samples]
    sizes += [0] * (len(lengths) - len(sizes))
    held = local_order(lengths, *context).numpy()
    entry = np.full(length, -1)
    entry[held] = np.arange(len(held))

    def local(whole: np.ndarray) -> Tensor:
        return torch.from_numpy(whole[held]).to(device)

    return MicroBatch(
        tokens=local(tokens)[None],
        targets=local(targets),
        packing=Packing.of(lengths, device, *context),
        coefficient={name: local(x) for name, x in coefficient.items()},
        fields={name: local(x) for name, x in fields.items()},
        sequences=Sequences(
            held=[n // context[1] for n in lengths],
            response=local(response),
            lengths=torch.tensor(sizes, dtype=torch.float32, device=device),
            over_context=sum_over_context if context[1] > 1 else same,
        ),
        spans=[
            (s, entry[span][entry[span] >= 0], np.flatnonzero(entry[span] >= 0))
            for s, span in spans
        ],
    )
