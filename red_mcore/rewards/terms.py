"""The parts of a reward that are plain arithmetic: the boxed answer, the length penalty, the sum."""

from __future__ import annotations

import re

from red_mcore.recipe import Reward
from red_mcore.records import Sample

_BRACES = re.compile(r"\\boxed\{|\\[{}]|[{}]")
"""The start of a box, an escaped brace (which is text), a brace."""


def last_boxed(text: str) -> str | None:
    """Content of the ``\\boxed{...}`` that starts last among those whose braces balance; None where there is none.

    One pass over the text: a policy stuck in a loop writes thousands of boxes that it never closes.
    """
    opened: list[int | None] = []  # content start of each open box, None for other open braces
    found, answer = -1, None
    for match in _BRACES.finditer(text):
        mark = match.group()
        if mark == "{" or mark == "\\boxed{":
            opened.append(match.end() if len(mark) > 1 else None)
        elif mark == "}" and opened:
            start = opened.pop()
            if start is not None and start > found:
                found, answer = start, text[start : match.start()]
    return answer


def overlong_penalty(tokens: int, limit: int, buffer: int) -> float:
    """0 up to ``limit - buffer`` tokens, then linear down to -1 at ``limit`` tokens (DAPO, arXiv 2503.14476)."""
    free = limit - buffer
    if tokens <= free:
        return 0.0
    return max(-1.0, (free - tokens) / buffer)


def reward(sample: Sample, settings: Reward, limit: int) -> float:
    """Accuracy plus the length penalty, where that is on; ``limit`` is the most tokens it could have had.

    A teacher's trace gets no length penalty: its length is not the policy's doing, and a long trace would otherwise
    lose its place in the group statistics although it is right.
    """
    total = sample.accuracy
    if settings.overlong is not None and not sample.is_offline:
        total += overlong_penalty(len(sample.response), limit, settings.overlong.buffer)
    return total
