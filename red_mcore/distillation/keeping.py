"""Which answers a problem still needs, and which become traces: by numbers and verdicts alone.

Nothing here knows in which order answers arrive, so that the set does not depend on it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from red_mcore.distillation.settings import Keeping


class Seen(NamedTuple):
    """What is known of an answer once it has its verdict."""

    is_correct: bool
    """Its verdict is ``correct``, and it came to its end by itself."""
    tokens: int
    is_empty: bool = False


def wanted(keeping: Keeping, seen: Mapping[int, Seen]) -> range:
    """The numbers of the answers that the problem is to have, as far as is known now.

    ``fill`` goes on in rounds: once all answers of a round are seen, the next has as many as
    correct ones are missing, up to ``most`` in all.
    """
    planned = keeping.samples
    if keeping.rule != "fill":
        return range(planned)
    while planned < keeping.most and all(index in seen for index in range(planned)):
        correct = sum(seen[index].is_correct for index in range(planned))
        if correct >= keeping.count:
            break
        planned = min(keeping.most, planned + keeping.count - correct)
    return range(planned)


def kept(keeping: Keeping, seen: Mapping[int, Seen]) -> list[int]:
    """The numbers of the answers that become traces, in order; empty ones are none."""
    numbers = [index for index in wanted(keeping, seen) if index in seen]
    numbers = [index for index in numbers if not seen[index].is_empty]
    if keeping.rule == "all":
        return numbers
    correct = [index for index in numbers if seen[index].is_correct]
    if keeping.rule == "correct":
        return correct
    if keeping.rule == "shortest_correct":
        return sorted(correct, key=lambda index: (seen[index].tokens, index))[:1]
    return correct[: keeping.count]
