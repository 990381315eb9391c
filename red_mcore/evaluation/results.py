"""What an evaluation outside of training leaves: ``summary.json``, and a run in MLflow."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from red_mcore.config.recipe import Tracking
from red_mcore.evaluation import summary as summaries
from red_mcore.evaluation.summary import Summary
from red_mcore.samples.responses import Response, shown
from red_mcore.system import disk
from red_mcore.tracking.provenance import versions

FOLDER = Path("runs/evaluations")
SUMMARY = "summary.json"
SHOWN_RESPONSES = 50
"""Responses that MLflow gets as a table; items.jsonl has all."""


def name_of(model: Path) -> str:
    """What a model's evaluation is called; RUN/checkpoints/TAG and RUN/export with their run."""
    path = model.resolve()
    if path.parent.name == "checkpoints":
        return f"{path.parent.parent.name}-{path.name}"
    if path.name in ("export", "base"):  # every run has these
        return f"{path.parent.name}-{path.name}"
    return path.name


@dataclass(frozen=True)
class Results:
    """Where the results of an evaluation go, and what they are compared with."""

    folder: Path
    tracking: Tracking
    shared: Path
    """Folder whose database has the run where ``tracking`` names none."""
    against: Path | None = None
    """Another evaluation."""
    others: Sequence[Response] = ()
    """Its responses."""

    def keep(
        self, summary: Summary, responses: Sequence[Response], parameters: dict[str, Any]
    ) -> Path:
        """Write ``summary``, which gets versions, comparison and MLflow's run; returns its file."""
        file = self.folder / SUMMARY
        earlier_run = self._earlier_run(file)
        summary["versions"] = versions()
        if self.others:
            compared = summaries.against(responses, self.others)
            summary["against"] = {"evaluation": str(self.against), "benchmarks": compared}
        # Before MLflow, which may fail or take long: the numbers are there whatever it does.
        _write(file, summary)
        if self.tracking.mlflow:
            try:
                summary["mlflow_run"] = self._log(summary, responses, parameters, earlier_run)
                _write(file, summary)
            except Exception as error:  # servers, networks and disks fail in many ways
                fix = "see --tracking-uri and --no-mlflow"
                print(f"warning: MLflow failed, {fix}: {error}", file=sys.stderr)
        return file

    def _earlier_run(self, file: Path) -> str | None:
        """MLflow's id of the run that an earlier summary names, to be written over."""
        try:
            return (disk.read_object(file) or {}).get("mlflow_run")
        except disk.Damaged as error:  # all else in it is written anew
            print(f"warning: {error}: MLflow gets a new run", file=sys.stderr)
            return None

    def _log(
        self,
        summary: Summary,
        responses: Sequence[Response],
        parameters: dict[str, Any],
        run_id: str | None,
    ) -> str:
        """Give MLflow parameters, metrics and tables; the run's id."""
        from red_mcore.tracking.mlflow_run import MlflowRun

        # What the summary has of texts and flags says which model, engine and grader it was.
        told = {key: value for key, value in summary.items() if isinstance(value, str | int | bool)}
        run = MlflowRun(
            self.tracking, self.folder.name, told | parameters, self.folder, self.shared, run_id
        )
        run.metrics(0, summaries.metrics(summary))
        benchmarks = []
        for name, numbers in summary["benchmarks"].items():
            benchmarks.append({"benchmark": name, **_plain(numbers)})
        run.table("benchmarks", benchmarks)
        first = [response for response in responses if response.sample == 0]
        run.table("responses", [shown(response) for response in first[:SHOWN_RESPONSES]])
        run.close("FINISHED")
        return run.run_id


def _write(file: Path, summary: Summary) -> None:
    disk.write_atomic(file, json.dumps(summary, indent=2) + "\n")


def _plain(numbers: dict[str, Any]) -> dict[str, Any]:
    """Without mappings: ``pass`` and its like become ``pass.1`` and so on."""
    out: dict[str, Any] = {}
    for key, value in numbers.items():
        if isinstance(value, dict):
            out |= {f"{key}.{inner}": number for inner, number in value.items()}
        else:
            out[key] = value
    return out
