"""Metrics, tables and the summary of a run, in its folder and in its monitors. For rank 0 only."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from red_mcore.config.recipe import Recipe
from red_mcore.config.tree import flatten
from red_mcore.tracking import monitor
from red_mcore.tracking.json_files import JsonFiles
from red_mcore.tracking.mlflow_run import MlflowRun
from red_mcore.tracking.monitor import Row, Status
from red_mcore.tracking.outlet import Call, Outlet

_NAME = re.compile(r"[a-z0-9_]+/[\w.:-]+")


class Tracker:
    """Writes the run folder's JSON files, and hands the same to MLflow and to
    ``tracking.monitors``.

    Each of them has to work at start: RecipeError. Where one fails later, one warning says so, the
    run goes on, and it gets what it lacks once it works again.
    """

    def __init__(self, recipe: Recipe, folder: Path, run_id: str | None = None) -> None:
        """``run_id`` is MLflow's, which a checkpoint keeps and a resumed run gives back."""
        tracking, settings = recipe.tracking, flatten(recipe)
        self._files = JsonFiles(folder)
        self.run_id: str | None = None
        """MLflow's; None where MLflow is off."""
        self._outlets = []
        if tracking.mlflow:
            run = MlflowRun(tracking, recipe.name, settings, folder, Path(recipe.runs), run_id)
            self.run_id = run.run_id
            self._outlets.append(Outlet("MLflow", run, folder))
        for path in tracking.monitors:
            made = monitor.make(path, recipe.name, settings, folder)
            self._outlets.append(Outlet(path, made, folder))

    def rows(self) -> dict[str, str]:
        """The content of the files of rows, by name, for a checkpoint to keep."""
        return self._files.rows()

    def begin(self, steps: Mapping[str, int], kept: Mapping[str, str] | None = None) -> list[str]:
        """Make all what it was at the checkpoint that the run goes on from; what was wrong with the
        files.

        ``kept``: ``rows`` of then; None where there is no checkpoint, or an older version saved it:
        then rows up to the stage's of ``steps`` stay.
        """
        faults = self._files.restore(steps, kept)
        earlier = self._files.parsed()
        self._send(lambda monitor: monitor.begin(steps, earlier))
        return faults

    def log(self, step: int, metrics: dict[str, float], stage: str = "main") -> None:
        """One row of a stage's step. ValueError for a name that is no ``phase/quantity_unit``:
        MLflow refuses it."""
        for name in metrics:
            if not _NAME.fullmatch(name):
                raise ValueError(f"metric name {name!r} is not phase/quantity_unit")
        values = {name: float(value) for name, value in metrics.items()}
        self._files.metrics(step, values, stage)
        self._send(lambda monitor: monitor.metrics(step, values, stage))

    def table(self, name: str, rows: list[Row], step: int) -> None:
        """Keep ``rows``, to be read, as ``rollouts/NAME-STEP.jsonl`` and wherever monitors keep
        tables."""
        self._files.table(name, rows, step)
        self._send(lambda monitor: monitor.table(name, rows, step))

    def summary(self, values: dict[str, Any]) -> None:
        """Write ``summary.json``, and tell the monitors. Unwritten where a disk has no room."""
        self._files.summary(values)
        self._send(lambda monitor: monitor.summary(values))

    def close(self, status: Status) -> None:
        """The run has ended so."""
        for outlet in self._outlets:
            outlet.close(status)

    def _send(self, call: Call) -> None:
        for outlet in self._outlets:
            outlet.send(call)
