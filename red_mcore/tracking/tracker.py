"""Metrics, tables and the summary of a run, in its folder and in MLflow. For rank 0 only."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from red_mcore.overrides import flatten
from red_mcore.recipe import Recipe
from red_mcore.tracking.files import append_line, finite, read_lines, write_atomic, write_lines
from red_mcore.tracking.mlflow_run import MlflowRun, Status

_NAME = re.compile(r"[a-z0-9_]+/[\w.-]+")
FILES = {"main": "metrics.jsonl", "base": "base.jsonl"}
"""Of the rows of each stage, which counts its own steps."""


class Tracker:
    """Writes ``metrics.jsonl`` (the truth; ``base.jsonl`` of base training), ``rollouts/`` and ``summary.json``, and hands the same to MLflow.

    MLflow has to answer at start: RecipeError. Where it fails later, one warning says so and the run goes on without.
    ``run_id`` is MLflow's, None where MLflow is off; a checkpoint keeps it, and a resumed run gives it back.
    """

    def __init__(self, recipe: Recipe, folder: Path, run_id: str | None = None) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        self._mlflow = None
        if recipe.tracking.mlflow:
            shared = Path(recipe.runs)
            self._mlflow = MlflowRun(recipe.tracking, recipe.name, flatten(recipe), folder, shared, run_id)
        self.run_id = self._mlflow.run_id if self._mlflow else None
        if self._mlflow and run_id not in (None, self.run_id):
            print(
                f"red_mcore: warning: MLflow has no run {run_id}: its database, or the run's folder, was moved or removed;"
                " a new one gets the rows so far",
                file=sys.stderr,
            )

    def truncate(self, after_step: int, stage: str = "main") -> None:
        """Drop the rows of steps beyond the checkpoint that the run goes on from; a fresh run passes -1.

        The others go to an MLflow that does not have them: to a new run, where the one before is not to be found.
        """
        path = self._folder / FILES[stage]
        rows = [row for row in read_lines(path) if row["step"] <= after_step]
        write_lines(path, rows)
        if self._mlflow and self._mlflow.is_new:
            for row in rows:
                values = {name: value for name, value in row.items() if name != "step" and value is not None}
                self._send(lambda run, step=row["step"], values=values: run.metrics(step, values))

    def log(self, step: int, metrics: dict[str, float], stage: str = "main") -> None:
        """One row of one step of a stage. Names are ``phase/quantity_unit``; ValueError for one that MLflow would refuse."""
        bad = [name for name in metrics if not _NAME.fullmatch(name)]
        if bad:
            raise ValueError(f"metric name {bad[0]!r} is not phase/quantity_unit")
        values = {name: float(value) for name, value in metrics.items()}
        append_line(self._folder / FILES[stage], {"step": step, **values})
        self._send(lambda run: run.metrics(step, values))

    def table(self, name: str, rows: list[dict[str, Any]], step: int) -> None:
        """Keep ``rows`` as ``rollouts/NAME-STEP.jsonl`` and as a table among MLflow's artifacts."""
        write_lines(self._folder / "rollouts" / f"{name}-{step:06d}.jsonl", rows)
        self._send(lambda run: run.table(f"rollouts/{name}-{step:06d}.json", rows))

    def summary(self, values: dict[str, Any]) -> None:
        """Write ``summary.json``; its numbers become MLflow's ``summary/...``."""
        write_atomic(self._folder / "summary.json", json.dumps(finite(values), indent=2) + "\n")
        numbers = {f"summary/{k}": float(v) for k, v in values.items() if type(v) in (int, float)}
        self._send(lambda run: run.metrics(0, numbers))

    def close(self, status: Status) -> None:
        self._send(lambda run: run.end(status))

    def _send(self, action: Callable[[MlflowRun], None]) -> None:
        if self._mlflow is None:
            return
        try:
            action(self._mlflow)
        except Exception as error:  # servers, networks and disks fail in many ways; none is worth a training run
            self._mlflow = None
            reason = str(error).splitlines()[0] if str(error) else type(error).__name__
            print(
                f"red_mcore: warning: MLflow failed ({reason}); going on with {self._folder / 'metrics.jsonl'} alone",
                file=sys.stderr,
            )
