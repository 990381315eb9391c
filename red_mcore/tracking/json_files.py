"""The files of a run folder: rows of metrics, tables of responses, the summary."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from red_mcore.system import disk
from red_mcore.tracking.monitor import Row
from red_mcore.tracking.outlet import warn
from red_mcore.tracking.rows import FILES, Rows


class JsonFiles:
    """``metrics.jsonl`` (the truth), ``rollouts/`` and ``summary.json``.

    A disk without room for rows and tables is one warning, and the rows are written later.
    """

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        self._rows = {stage: Rows(folder / name) for stage, name in FILES.items()}
        self._has_room = True

    def rows(self) -> dict[str, str]:
        """The content of the files of rows, by name, for a checkpoint to keep."""
        return {rows.file.name: rows.text for rows in self._rows.values() if rows.lines}

    def parsed(self) -> dict[str, list[Row]]:
        """The rows of each stage."""
        return {stage: list(map(json.loads, rows.lines)) for stage, rows in self._rows.items()}

    def restore(self, steps: Mapping[str, int], kept: Mapping[str, str] | None) -> list[str]:
        """Make the files of rows what they were at a checkpoint; the faults found, as
        ``Tracker.begin`` tells them."""
        faults = []
        for stage, rows in self._rows.items():
            before = None if kept is None else kept.get(rows.file.name, "")
            if before or stage in steps:  # a stage that is over has rows, and no steps to come
                faults.append(rows.restore(before, steps.get(stage, -1)))
        return list(filter(None, faults))

    def metrics(self, step: int, values: Mapping[str, float], stage: str = "main") -> None:
        """A row of the stage's file."""
        self._rows[stage].add({"step": step, **values})
        self._write(self._rows[stage].flush)

    def table(self, name: str, rows: Sequence[Row], step: int) -> None:
        """The file ``rollouts/NAME-STEP.jsonl``."""
        file = self._folder / "rollouts" / f"{name}-{step:06d}.jsonl"
        self._write(lambda: disk.write_lines(file, rows))

    def summary(self, values: Mapping[str, Any]) -> None:
        """Write ``summary.json``, and all rows that are not written; Unwritten where a disk has no
        room."""
        for rows in self._rows.values():
            rows.flush()
        text = json.dumps(disk.finite(dict(values)), indent=2)
        disk.write_atomic(self._folder / "summary.json", text + "\n")

    def _write(self, write: Callable[[], None]) -> None:
        """``write``; that a disk has no room is told once, until it has."""
        try:
            write()
        except disk.Unwritten as error:
            if not disk.full(error):
                raise
            if self._has_room:
                warn(f"{error}; the run goes on, up to its next checkpoint")
            self._has_room = False
        else:
            self._has_room = True
