"""The rows of a run's metrics: a file of JSON lines, which checkpoints keep, too, and so can be
made whole again."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from red_mcore.checkpoints import manifests
from red_mcore.system import disk

METRICS = "metrics.jsonl"
FILES = {"main": METRICS, "base": "base.jsonl"}
"""Of the rows of each stage, which counts its own steps."""


def read(run: Path) -> tuple[list[dict[str, Any]], list[int], str | None]:
    """(rows of ``metrics.jsonl`` by step, steps whose row is lost, what was wrong with the file).

    A step that a resumed run repeated counts once, as it was last. What is damaged or missing is
    taken from the newest checkpoint, as far as that has it.
    """
    file = run / METRICS
    try:
        found, bad = disk.read_rows(file, _is_row)
    except disk.Damaged:
        found, bad = [], [0]
    theirs = {row["step"]: row for row in found}
    kept = manifests.copy(run / "checkpoints", METRICS) or ""
    ours = {row["step"]: row for row in map(json.loads, kept.splitlines())}
    rows = ours | theirs
    lost = sorted(set(range(max(rows, default=-1) + 1)) - rows.keys())
    saved, told = rows.keys() - theirs, None
    if bad or saved or lost:
        told = (
            f"{file} lacks rows ({len(bad)} of its lines are damaged): {len(saved)} are in the"
            f" newest checkpoint, {len(lost)} are lost"
        )
    return [rows[step] for step in sorted(rows)], lost, told


class Rows:
    """The lines of ``file``; what is on disk may lag behind while that has no room."""

    def __init__(self, file: Path) -> None:
        self.file = file
        self.lines: list[str] = []
        self._on_disk = 0

    @property
    def text(self) -> str:
        """What the file holds, or is to hold."""
        return "".join(self.lines)

    def restore(self, kept: str | None, after_step: int) -> str | None:
        """Make the file what it was at the checkpoint that a run goes on from; what was wrong with
        it, to be told.

        ``kept``: its content then, as the checkpoint has it. Where it has none, as of an older
        version, or where there is no checkpoint, rows up to ``after_step`` stay (-1: none), each
        step once, as it was last.
        """
        if kept is None:
            fault = self._read(after_step)
        else:
            self.lines = kept.splitlines(keepends=True)
            fault = None
            # What follows is of steps that are made again: no fault.
            if not self._begins_with(kept.encode()):
                anew = f"{len(self.lines)} rows are written anew from the checkpoint"
                fault = f"{self.file} is damaged or lacks rows: {anew}"
        disk.write_atomic(self.file, self.text)
        self._on_disk = len(self.lines)
        return fault

    def add(self, row: dict[str, Any]) -> None:
        """Keep ``row``, to be written by ``flush``."""
        self.lines.append(disk.line(row))

    def flush(self) -> None:
        """Write what is not on disk yet; Unwritten where that fails, and then it can be tried
        again."""
        if self._on_disk < len(self.lines):
            disk.append(self.file, "".join(self.lines[self._on_disk :]))
            self._on_disk = len(self.lines)

    def _read(self, after_step: int) -> str | None:
        rows, bad = disk.read_rows(self.file, _is_row) if after_step >= 0 else ([], [])
        by_step = {row["step"]: row for row in rows}
        self.lines = [disk.line(by_step[step]) for step in sorted(by_step) if step <= after_step]
        if not bad:
            return None
        return f"{self.file}: {len(bad)} damaged lines are left out, the first is line {bad[0]}"

    def _begins_with(self, kept: bytes) -> bool:
        try:
            with self.file.open("rb") as file:
                return file.read(len(kept)) == kept
        except OSError:
            return False


def _is_row(value: Any) -> bool:
    return isinstance(value, dict) and isinstance(value.get("step"), int)
