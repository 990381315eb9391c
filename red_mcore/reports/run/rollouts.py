"""Recorded rollouts as pages show them: rows of ``rollouts/*.jsonl``, whatever they may hold."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

Row = dict[str, Any]
_HEAD, _TAIL = 6000, 4000
"""Characters shown of the begin and the end of a text that is longer than both."""
_FACTS = {"reward": "reward {:g}", "advantage": "advantage {:+.2f}", "tokens": "{:,.0f} tokens"}


class Cut(NamedTuple):
    """A text whose midst may be left out."""

    head: str
    left_out: int
    """Characters."""
    tail: str


class Rollout:
    """One row."""

    def __init__(self, row: Row) -> None:
        self._row = row
        self.problem, self.gold = self._of("problem"), self._of("gold")
        self.text = self._of("response")
        self.prompt, self.response = cut(self._of("prompt")), cut(self.text.strip("\n"))
        self.is_right = row.get("verdict") == "correct"
        self.is_trace, self.is_truncated = bool(row.get("trace")), bool(row.get("truncated"))
        self.group = row.get("group")

    @property
    def gold_formula(self) -> str:
        """A gold answer is the content of a box, LaTeX without delimiters; here with them."""
        if set("\\^_") & set(self.gold) and "$" not in self.gold:
            return f"${self.gold}$"
        return self.gold

    @property
    def facts(self) -> list[str]:
        """The verdict, and what is known beside it."""
        found = [self._of("verdict") or "no verdict"]
        if self.is_trace:
            found[0] += ", a trace"
        for name, form in _FACTS.items():
            value = self.number(name)
            if value is not None:
                found.append(form.format(value))
        if self.is_truncated:
            found.append("cut off at the limit")
        return found

    def number(self, name: str) -> float | None:
        value = self._row.get(name)
        return value if isinstance(value, (int, float)) else None

    def _of(self, name: str) -> str:
        return str(self._row.get(name) or "")


def cut(text: str) -> Cut:
    """The text without its midst where it is long."""
    if len(text) <= _HEAD + _TAIL:
        return Cut(text, 0, "")
    return Cut(text[:_HEAD], len(text) - _HEAD - _TAIL, text[-_TAIL:])


def read(folder: Path, kind: str, rows: Callable[[Path], list[Row]]) -> dict[int, list[Rollout]]:
    """Step -> rollouts kept as ``rollouts/KIND-STEP.jsonl`` in a run's folder, by step.

    ``rows`` reads a file.
    """
    found = {}
    for file in (folder / "rollouts").glob(f"{kind}-*.jsonl"):
        number = re.fullmatch(rf"{kind}-(\d+)", file.stem)
        if number and (kept := rows(file)):
            found[int(number[1])] = [Rollout(row) for row in kept]
    return dict(sorted(found.items()))


def evenly(steps: Sequence[int], count: int) -> list[int]:
    """At most ``count`` of ``steps`` at equal distances, the first among them and, of several, the
    last."""
    places = np.linspace(0, len(steps) - 1, min(count, len(steps)))
    return [steps[place] for place in places.round().astype(int)]
