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

from red_mcore.megatron.attention import Packing, local_order
from red_mcore.records import Group, Sample

_TOKEN_FIELDS = ("old_logp", "ref_logp")
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
    """``advantage``, ``beta``, ``weight``, ``is_offline``, ``old_logp``, ``ref_logp``: [T] float32, 0 off responses.

    A log-prob that not all samples have is left out, so that a loss which needs it fails instead of reading zeros.
    """
    spans: list[tuple[Sample, np.ndarray, np.ndarray]]
    """Each sample, the entries that predict its response, and which of its tokens they predict; the latter two hold a
    part of it, or nothing, under context parallel."""

    def refresh(self, name: str) -> None:
        """Write the per-sample field ``name`` anew, where the samples' values have changed since packing."""
        for sample, entries, _ in self.spans:
            self.fields[name][entries] = getattr(sample, name)


def deal(groups: Sequence[Group], ranks: int, hidden_size: int) -> list[list[Sample]]:
    """Samples of each data-parallel rank: whole groups, the dearest first to the rank with the least work so far."""
    work = [0.0] * ranks
    hands: list[list[Sample]] = [[] for _ in range(ranks)]
    priced = sorted(((sum(_cost(s, hidden_size) for s in g.samples), i) for i, g in enumerate(groups)), reverse=True)
    for cost, i in priced:
        rank = min(range(ranks), key=lambda r: (work[r], r))
        work[rank] += cost
        hands[rank].extend(groups[i].samples)
    return hands


def imbalance(hands: Sequence[Sequence[Sample]], hidden_size: int) -> float:
    """Work of the data-parallel rank that has the most, over the mean; 1 is perfect."""
    work = [sum(_cost(s, hidden_size) for s in hand) for hand in hands]
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
            raise ValueError(f"a sequence of {size} tokens exceeds the micro-batch budget of {budget} tokens")
        slot = next((b for b, free in enumerate(room) if free >= size), None)
        if slot is None:
            out.append([])
            room.append(budget)
            slot = len(out) - 1
        out[slot].append(i)
        room[slot] -= size
    return out


def pack(
    hands: Sequence[Sequence[Sample]],
    rank: int,
    budget: int,
    *,
    multiple: int,
    static: bool,
    context: tuple[int, int] = (0, 1),
    rounds: int = 1,
    offline_last: bool = False,
    components: Sequence[str],
    device: torch.device,
) -> list[MicroBatch]:
    """Micro-batches of data-parallel ``rank``; every rank gets the same number of them.

    ``multiple`` pads each to a multiple (sequence parallel), ``static`` pads all ranks' micro-batches to one common
    length, as pipeline stages and holders of experts that exchange activations of a fixed shape need. ``context``,
    (rank, ranks), splits each micro-batch over context-parallel ranks; what pads its sequences (``local_order``) comes
    on top of ``budget``. The number of micro-batches is a multiple of ``rounds`` (interleaved pipelines). A rank that
    runs out of samples gets micro-batches of padding alone, whose loss is an exact 0. ``offline_last`` puts the traces
    behind the rollouts.
    """
    plans = [_plan(hand, budget, offline_last) for hand in hands]
    count = _padded(max(1, *(len(plan) for plan in plans)), rounds)
    unit = 2 * context[1] if context[1] > 1 else 1
    lengths = [
        [sum(_padded(hand[i].tokens, unit) for i in b) for b in plan] for hand, plan in zip(hands, plans, strict=True)
    ]
    common = max((length for rank_lengths in lengths for length in rank_lengths), default=0)
    empty = count - len(plans[rank])
    out = []
    for members, used in zip([[]] * empty + plans[rank], [0] * empty + lengths[rank], strict=True):
        length = _padded(max(common if static else used, 1), math.lcm(unit, context[1] * multiple))
        out.append(_build(hands[rank], members, length, unit, context, components, device))
    return out


def _padded(number: int, multiple: int) -> int:
    return -(-number // multiple) * multiple


def late_traces(hands: Sequence[Sequence[Sample]], budget: int) -> list[Sample]:
    """With ``offline_last``, the traces of all ranks that come after their rank's first micro-batch with traces."""
    late = []
    for hand in hands:
        with_traces = [b for b in _plan(hand, budget, offline_last=True) if any(hand[i].is_offline for i in b)]
        late += [hand[i] for b in with_traces[1:] for i in b]
    return late


def _plan(samples: Sequence[Sample], budget: int, offline_last: bool) -> list[list[int]]:
    """Indices of each micro-batch's samples; traces share the last one of the rollouts if there is room for all."""
    if not offline_last:
        return bins(samples, budget)
    parts = ([i for i, s in enumerate(samples) if s.is_offline is offline] for offline in (False, True))
    rollouts, traces = ([[part[i] for i in b] for b in bins([samples[i] for i in part], budget)] for part in parts)
    if rollouts and len(traces) == 1 and sum(samples[i].tokens for i in rollouts[-1] + traces[0]) <= budget:
        return [*rollouts[:-1], rollouts[-1] + traces[0]]
    return rollouts + traces


def _build(
    samples: Sequence[Sample],
    members: list[int],
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
    scored = [name for name in _TOKEN_FIELDS if all(getattr(samples[i], name) is not None for i in members)]
    fields = {name: np.zeros(length, np.float32) for name in (*_SAMPLE_FIELDS, *scored)}
    spans, lengths, at = [], [], 0
    for i in members:
        sample = samples[i]
        end = at + sample.tokens
        tokens[at:end] = np.concatenate((sample.prompt, sample.response))
        targets[at : end - 1] = tokens[at + 1 : end]
        span = slice(at + len(sample.prompt) - 1, end - 1)
        spans.append((sample, span))
        for name in components:
            coefficient[name][span] = sample.coefficient.get(name, 0.0)
        for name, field in fields.items():
            field[span] = getattr(sample, name)
        lengths.append(_padded(sample.tokens, unit))
        at += lengths[-1]
    if at < length:
        lengths.append(length - at)  # the padding is a sequence of its own: no other sequence sees it
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
        spans=[(s, entry[span][entry[span] >= 0], np.flatnonzero(entry[span] >= 0)) for s, span in spans],
    )
