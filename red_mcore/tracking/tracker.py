"""Metrics, tables and the summary of a run, in its folder and in MLflow. For rank 0 only."""

from __future__ import annotations

import json
import re
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from red_mcore.config.recipe import Recipe
from red_mcore.config.redaction import redacted
from red_mcore.config.tree import flatten
from red_mcore.system import disk
from red_mcore.tracking.mlflow_run import MlflowRun, Status, reason
from red_mcore.tracking.rows import Rows

FILES = {"main": "metrics.jsonl", "base": "base.jsonl"}
"""Of the rows of each stage, which counts its own steps."""
_NAME = re.compile(r"[a-z0-9_]+/[\w.-]+")
_PAUSE = 60.0
"""Seconds after which MLflow is tried again where it failed, twice as many each time: a try may take half a minute."""


class Tracker:
    """Writes ``metrics.jsonl`` (the truth), ``rollouts/`` and ``summary.json``, and hands the same to MLflow.

    MLflow has to answer at start: RecipeError. Where it fails later, one warning says so, the run goes on, and MLflow
    gets what it lacks once it works again. A disk without room for rows and tables is one warning, too, and the rows
    are written later. ``run_id`` is MLflow's, None where MLflow is off; a checkpoint keeps it, and a resumed run gives
    it back.
    """

    def __init__(self, recipe: Recipe, folder: Path, run_id: str | None = None) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        self._rows = {stage: Rows(folder / name) for stage, name in FILES.items()}
        self._has_room = True
        self._mlflow = None
        if recipe.tracking.mlflow:
            shared = Path(recipe.runs)
            self._mlflow = MlflowRun(recipe.tracking, recipe.name, flatten(recipe), folder, shared, run_id)
        self.run_id = self._mlflow.run_id if self._mlflow else None
        self._waiting: list[Callable[[MlflowRun], None]] = []
        """What MLflow has not got yet."""
        self._failures, self._again = 0, 0.0
        """How often it has failed since it worked, and when (``time.monotonic``) it is tried again."""

    def rows(self) -> dict[str, str]:
        """The content of the files of rows, by name, for a checkpoint to keep."""
        return {rows.file.name: rows.text for rows in self._rows.values() if rows.lines}

    def begin(self, steps: Mapping[str, int], kept: Mapping[str, str] | None = None) -> list[str]:
        """Make the files of rows what they were at the checkpoint that the run goes on from; what was wrong with them.

        ``kept``: ``rows`` of then; None where there is no checkpoint, or an older version saved it: then rows up to the
        stage's of ``steps`` stay. An MLflow that does not have the earlier rows, as its run is not to be found any
        more, gets them.
        """
        faults = []
        for stage, rows in self._rows.items():
            before = None if kept is None else kept.get(rows.file.name, "")
            if before or stage in steps:
                faults.append(rows.restore(before, steps.get(stage, -1)))
        if self._mlflow and self._mlflow.is_new:
            earlier = [json.loads(line) for rows in self._rows.values() for line in rows.lines]
            self._send(lambda run: run.history(earlier))
        return [fault for fault in faults if fault]

    def log(self, step: int, metrics: dict[str, float], stage: str = "main") -> None:
        """One row of a stage's step. Names are ``phase/quantity_unit``; ValueError for one that MLflow would refuse."""
        bad = [name for name in metrics if not _NAME.fullmatch(name)]
        if bad:
            raise ValueError(f"metric name {bad[0]!r} is not phase/quantity_unit")
        values = {name: float(value) for name, value in metrics.items()}
        self._rows[stage].add({"step": step, **values})
        self._try(self._rows[stage].flush)
        self._send(lambda run: run.metrics(step, values))

    def table(self, name: str, rows: list[dict[str, Any]], step: int) -> None:
        """Keep ``rows`` as ``rollouts/NAME-STEP.jsonl`` and as a table among MLflow's artifacts."""
        self._try(lambda: disk.write_lines(self._folder / "rollouts" / f"{name}-{step:06d}.jsonl", rows))
        self._send(lambda run: run.table(f"rollouts/{name}-{step:06d}.json", rows))

    def summary(self, values: dict[str, Any]) -> None:
        """Write ``summary.json``; its numbers become MLflow's ``summary/...``. Unwritten where a disk has no room."""
        for rows in self._rows.values():
            rows.flush()
        disk.write_atomic(self._folder / "summary.json", json.dumps(disk.finite(values), indent=2) + "\n")
        numbers = {f"summary/{k}": float(v) for k, v in values.items() if type(v) in (int, float)}
        self._send(lambda run: run.metrics(0, numbers))

    def close(self, status: Status) -> None:
        self._again = 0.0
        self._send(lambda run: run.end(status))
        if self._waiting:
            _warn(f"MLflow lacks the last {len(self._waiting)} entries of this run, which are in {self._folder}")

    def _try(self, write: Callable[[], None]) -> None:
        """``write``; that a disk has no room is told once, until it has."""
        try:
            write()
        except disk.Unwritten as error:
            if not disk.full(error):
                raise
            if self._has_room:
                _warn(f"{error}; the run goes on, up to its next checkpoint")
            self._has_room = False
        else:
            self._has_room = True

    def _send(self, action: Callable[[MlflowRun], None]) -> None:
        if self._mlflow is None:
            return
        self._waiting.append(action)
        if time.monotonic() < self._again:
            return
        try:
            while self._waiting:
                self._waiting[0](self._mlflow)
                del self._waiting[0]
        except Exception as error:  # servers, networks and disks fail in many ways; none is worth a training run
            if self._failures == 0:
                _warn(f"MLflow failed ({redacted(reason(error))}); going on with {self._folder / FILES['main']} alone")
            self._again = time.monotonic() + _PAUSE * 2**self._failures
            self._failures += 1
        else:
            self._failures = 0


def _warn(text: str) -> None:
    print(f"red_mcore: warning: {text}", file=sys.stderr, flush=True)
