"""One run as curves over steps, generated tokens and seconds, and where it is read."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from red_mcore.config.recipe import RecipeError
from red_mcore.tracking import rows

AXES = ("steps", "tokens", "seconds")
"""What methods are matched on: steps of the loop, generated tokens, training seconds."""
NOT_TRAINING = ("time/evaluate_seconds", "time/publish_engine_seconds")
"""Timings that do not count as training: evaluation, and a part of ``time/publish_seconds``."""


@dataclass(frozen=True)
class Reading:
    """A run at one budget."""

    pass1: float
    stderr: float
    """Standard error of ``pass1`` over the held-out problems."""
    passk: float
    length: float
    truncated: float
    note: str = ""
    """``end``: read at equal seconds, as it generates no tokens; ``short``: at its last evaluation,
    as it ended too early; ``stage``: while still in its first stage."""


@dataclass(frozen=True)
class Curves:
    """``metrics.jsonl`` of a run; a step that a resumed run repeated is as it was last."""

    rows: list[dict[str, Any]]
    """The rows by step, 0 (the evaluation of the start) included."""
    samples: int
    """Per held-out problem: the k of pass@k."""

    @cached_property
    def spending(self) -> dict[str, np.ndarray]:
        """Axis -> what had been spent of it after each row, [rows]."""
        return {
            "steps": np.array([row["step"] for row in self.rows], float),
            "tokens": np.cumsum([row.get("rollout/generated_tokens", 0.0) for row in self.rows]),
            "seconds": np.cumsum([training_seconds(row) for row in self.rows]),
        }

    @cached_property
    def evaluated(self) -> np.ndarray:
        """Indices of the rows with an evaluation."""
        return np.array([i for i, row in enumerate(self.rows) if "evaluation/pass1" in row], int)

    def spent(self, axis: str, step: int) -> float:
        """Spent of ``axis`` up to ``step``."""
        return float(np.interp(step, self.spending["steps"], self.spending[axis]))

    def evaluation(self, axis: str, name: str) -> tuple[np.ndarray, np.ndarray]:
        """(spent of ``axis``, value of ``evaluation/name``) at every evaluation."""
        values = np.array([self.rows[i][f"evaluation/{name}"] for i in self.evaluated], float)
        return self.spending[axis][self.evaluated], values

    def metric(self, name: str) -> tuple[np.ndarray, np.ndarray]:
        """(steps, values) of the rows that have a number under ``name``."""
        found = [(row["step"], row[name]) for row in self.rows if row.get(name) is not None]
        steps, values = zip(*found, strict=True) if found else ((), ())
        return np.array(steps, float), np.array(values, float)

    @property
    def updates(self) -> float:
        """Optimizer updates to the end of the run."""
        _, versions = self.metric("publish/version")
        return float(versions[-1]) if len(versions) else 0.0

    @property
    def trained_tokens(self) -> float | None:
        """Tokens of all samples and lessons trained on, prompts included; None where the run did
        not count them."""
        if not len(self.metric("update/tokens")[0]):
            return None
        return float(sum(self.metric(name)[1].sum() for name in ("update/tokens", "lesson/tokens")))

    def read(self, axis: str, budget: float) -> Reading:
        """At the evaluation of the step that spends ``budget``.

        Where that step has none: in a straight line between the two around it, or at the last if
        none follows.
        """
        names = ("pass1", "pass1_stderr", f"pass{self.samples}", "length_tokens", "truncated")
        spent = self.spending[axis]
        crossing = int(np.searchsorted(spent, budget))
        if crossing > 0 and crossing in self.evaluated:
            return Reading(*(float(self.rows[crossing][f"evaluation/{name}"]) for name in names))
        note = "short" if budget > spent[self.evaluated[-1]] * (1 + 1e-9) else ""
        values = [float(np.interp(budget, *self.evaluation(axis, name))) for name in names]
        return Reading(*values, note)


def read_curves(folder: Path, samples: int) -> Curves:
    """RecipeError where a step's row is lost: what the run has spent is not known without it."""
    found, lost, told = rows.read(folder)
    if lost:
        fix = f"put the file back, or delete {folder} to run it again"
        raise RecipeError(f"{told}, the first of step {lost[0]}: {fix}")
    return Curves(found, samples)


def training_seconds(row: dict[str, Any]) -> float:
    """Seconds that a step took, evaluation left out."""
    names = [name for name in row if name.startswith("time/") and name not in NOT_TRAINING]
    return sum(row[name] or 0.0 for name in names)


def budgets(reference: Curves, steps: int) -> dict[str, float]:
    """What the reference has spent in its ``steps`` steps."""
    return {axis: reference.spent(axis, steps) for axis in AXES}
