"""Recorded rollouts as pages show them: rows of ``rollouts/*.jsonl``, whatever they may hold."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

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


@dataclass(frozen=True)
class Rollout:
    """One row."""

    row: Row

    @property
    def problem(self) -> str:
        return self._text("problem")

    @property
    def prompt(self) -> Cut:
        return cut(self._text("prompt"))

    @property
    def text(self) -> str:
        return self._text("response")

    @property
    def response(self) -> Cut:
        return cut(self.text.strip("\n"))

    @property
    def gold(self) -> str:
        return self._text("gold")

    @property
    def gold_formula(self) -> str:
        """A gold answer is the content of a box, LaTeX without delimiters; here with them."""
        if set("\\^_") & set(self.gold) and "$" not in self.gold:
            return f"${self.gold}$"
        return self.gold

    @property
    def is_right(self) -> bool:
        return self.row.get("verdict") == "correct"

    @property
    def is_trace(self) -> bool:
        return bool(self.row.get("trace"))

    @property
    def is_truncated(self) -> bool:
        return bool(self.row.get("truncated"))

    @property
    def group(self) -> Any:
        return self.row.get("group")

    def number(self, name: str) -> float | None:
        value = self.row.get(name)
        return value if isinstance(value, (int, float)) else None

    @property
    def facts(self) -> list[str]:
        """The verdict, and what is known beside it."""
        found = [(self._text("verdict") or "no verdict") + (", a trace" if self.is_trace else "")]
        for name, form in _FACTS.items():
            value = self.number(name)
            if value is not None:
                found.append(form.format(value))
        if self.is_truncated:
            found.append("cut off at the limit")
        return found

    def _text(self, name: str) -> str:
        return str(self.row.get(name) or "")


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
