"""Responses, and what is known of them, by correctness and by problem."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TypeVar

from red_mcore.samples.responses import Key, Response

GROUPS = ("all", "correct", "incorrect")


@dataclass(frozen=True)
class OfResponse:
    """What is known of one response."""

    response: Response

    @property
    def is_correct(self) -> bool:
        return self.response.is_correct

    @property
    def problem_id(self) -> Key:
        return self.response.problem_id


T = TypeVar("T", bound=Response | OfResponse)


def groups(items: Sequence[T]) -> dict[str, list[T]]:
    """The items by correctness; incorrect are all that the verifier did not accept, whatever the
    verdict."""
    found: dict[str, list[T]] = {"all": list(items), "correct": [], "incorrect": []}
    for item in items:
        found["correct" if item.is_correct else "incorrect"].append(item)
    return found


def problem_ids(items: Iterable[Response | OfResponse]) -> list[Key]:
    """The problem of each item: the clusters of ``stats.mean`` and ``stats.ratio``."""
    return [item.problem_id for item in items]
