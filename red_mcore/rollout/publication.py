"""Checks on a stream of published weights: all there, each once, right shapes, finite; with a
checksum."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import torch

_VIEW = {1: torch.int8, 2: torch.int16, 4: torch.int32, 8: torch.int64}
_NAMED = 8
"""Problems spelt out in one error; the rest are counted."""


class PublicationError(RuntimeError):
    """Published weights are not the model that was expected; the message names the tensors."""


@dataclass(frozen=True)
class Publication:
    """One transfer of the policy into an engine."""

    version: int
    tensors: int
    bytes: int
    seconds: float
    checksum: str
    """16 hex digits, the same for the same names and values in any order."""


class Checked:
    """Passes the good tensors of a stream on and keeps the account of all.

    The stream is always read to its end: its tensors are gathered over trainer ranks, and a rank
    that stopped early would leave the others waiting. ``verify`` tells afterwards.
    """

    def __init__(self, expected: Mapping[str, tuple[int, ...]], *, tied: bool) -> None:
        self.expected = expected
        self.tied = tied
        self.tensors = 0
        self.bytes = 0
        self.digest = 0
        self._seen: set[str] = set()
        self._problems: list[str] = []

    def stream(
        self, tensors: Iterator[tuple[str, torch.Tensor]]
    ) -> Iterator[tuple[str, torch.Tensor]]:
        """The tensors of ``tensors`` that are as expected."""
        for name, tensor in tensors:
            if self.tied and name == "lm_head.weight":
                continue  # the embedding by another name
            problem = self._problem(name, tensor)
            self._seen.add(name)
            if problem is not None:
                self._problems.append(problem)
                continue
            self.tensors += 1
            self.bytes += tensor.numel() * tensor.element_size()
            self.digest = (self.digest + tensor_digest(name, tensor)) % 2**64
            yield name, tensor

    def verify(self) -> None:
        """Raise PublicationError unless every expected tensor came once, well shaped and finite."""
        missing = [name for name in self.expected if name not in self._seen]
        problems = [f"{name} missing" for name in missing] + self._problems
        if problems:
            told = "; ".join(problems[:_NAMED])
            if len(problems) > _NAMED:
                told += f" and {len(problems) - _NAMED} more"
            raise PublicationError(f"publication refused: {told}")

    def _problem(self, name: str, tensor: torch.Tensor) -> str | None:
        if name not in self.expected:
            return f"{name} unexpected"
        if name in self._seen:
            return f"{name} duplicated"
        if tuple(tensor.shape) != tuple(self.expected[name]):
            return f"{name} has shape {tuple(tensor.shape)}, want {tuple(self.expected[name])}"
        low, high = tensor.detach().aminmax()  # a NaN makes both NaN
        if not (math.isfinite(low) and math.isfinite(high)):
            return f"{name} is not finite"
        return None


def tensor_digest(name: str, tensor: torch.Tensor) -> int:
    """64-bit digest of a name, a shape and the sum of the elements' bit patterns: one pass over the
    tensor, no copy."""
    bits = tensor.detach().contiguous().view(_VIEW[tensor.element_size()])
    text = f"{name} {tuple(tensor.shape)} {int(bits.sum(dtype=torch.int64))}"
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "little")
