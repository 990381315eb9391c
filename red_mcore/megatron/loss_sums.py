"""The loss of a pass: coefficient x token loss, summed over components and tokens."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

from red_mcore.losses.inputs import LossInputs
from red_mcore.megatron.packing import MicroBatch
from red_mcore.samples import guards
from red_mcore.samples.records import Group

TokenLosses = Callable[[LossInputs], Mapping[str, Tensor]]
"""Tensors [T] of a micro-batch -> component -> token loss [T]."""


class LossSums:
    """What the micro-batches of this rank add to each component of the loss."""

    def __init__(
        self, groups: Sequence[Group], components: Sequence[str], token_losses: TokenLosses
    ) -> None:
        self._groups, self._token_losses = groups, token_losses
        self.by_component = dict.fromkeys(components, 0.0)
        self.spoilt: str | None = None
        """The first component that is not finite, if one is, and by which token."""

    def add(self, batch: MicroBatch, logp: Tensor, entropy: Tensor) -> Tensor:
        """The loss of a micro-batch, a scalar with a gradient; ``logp`` and ``entropy`` are [T]."""
        token_losses = self._token_losses(batch.inputs(logp, entropy))
        total = logp.sum() * 0.0  # keeps the graph of a micro-batch without trained tokens alive
        for name in self.by_component:
            coefficient = batch.coefficient[name]
            # where, not a product: a token loss may be infinite off its component's tokens
            losses = torch.where(coefficient != 0, coefficient * token_losses[name], 0.0)
            part = losses.sum()
            value = part.item()
            self.by_component[name] += value
            if self.spoilt is None and not math.isfinite(value):
                self.spoilt = f"loss/{name} {self._first_spoilt(losses, logp, batch)}"
            total = total + part
        return total

    def _first_spoilt(self, losses: Tensor, logp: Tensor, batch: MicroBatch) -> str:
        """Of which token the first of ``losses`` [T] is that is not finite, with its log-prob."""
        losses = losses.detach().cpu()
        for sample, entries, tokens in batch.spans:
            wrong = np.flatnonzero(~losses[entries].isfinite().numpy())
            if len(wrong):
                entry, token = entries[wrong[0]], tokens[wrong[0]]
                where = f"of token {token} of {guards.place_in(self._groups, sample)}"
                return f"{where} is {losses[entry].item()} (log-prob {logp[entry].item():.6g})"
        return f"is {losses.sum().item()}: finite losses have no finite sum"


def trained_tokens(batch: MicroBatch) -> Tensor:
    """[T] bool: the tokens that any component of the loss counts."""
    return torch.stack(list(batch.coefficient.values())).ne(0).any(dim=0)
