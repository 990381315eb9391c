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

    def column(self, name: str) -> np.ndarray:
        """A metric of every row, [rows]; NaN where a row has none."""
        return np.array([row.get(name) for row in self.rows], float)

    @cached_property
    def spending(self) -> dict[str, np.ndarray]:
        """Axis -> what had been spent of it after each row, [rows]."""
        tokens = np.nan_to_num(self.column("rollout/generated_tokens"))
        seconds = [training_seconds(row) for row in self.rows]
        return {
            "steps": self.column("step"),
            "tokens": np.cumsum(tokens),
            "seconds": np.cumsum(seconds),
        }

    @cached_property
    def evaluated(self) -> np.ndarray:
        """Indices of the rows with an evaluation."""
        return np.flatnonzero(~np.isnan(self.column("evaluation/pass1")))

    def spent(self, axis: str, step: int) -> float:
        """Spent of ``axis`` up to ``step``."""
        return float(np.interp(step, self.spending["steps"], self.spending[axis]))

    def evaluation(self, axis: str, name: str) -> tuple[np.ndarray, np.ndarray]:
        """(spent of ``axis``, value of ``evaluation/name``) at every evaluation."""
        values = self.column(f"evaluation/{name}")
        return self.spending[axis][self.evaluated], values[self.evaluated]

    def metric(self, name: str) -> tuple[np.ndarray, np.ndarray]:
        """(steps, values) of the rows that have a number under ``name``."""
        values = self.column(name)
        known = ~np.isnan(values)
        return self.spending["steps"][known], values[known]

    @property
    def updates(self) -> float:
        """Optimizer updates to the end of the run."""
        versions = self.metric("publish/version")[1]
        return float(versions[-1]) if len(versions) else 0.0

    @property
    def trained_tokens(self) -> float | None:
        """Tokens of all samples and lessons trained on, prompts included; None where the run did
        not count them."""
        samples, lessons = self.column("update/tokens"), self.column("lesson/tokens")
        if np.isnan(samples).all():
            return None
        return float(np.nansum(samples) + np.nansum(lessons))

    def read(self, axis: str, budget: float) -> Reading:
        """At the evaluation of the step that spends ``budget``.

        Where that step has none: in a straight line between the two around it, or at the last if
        none follows.
        """
        names = ("pass1", "pass1_stderr", f"pass{self.samples}", "length_tokens", "truncated")
        table = np.array([self.column(f"evaluation/{name}") for name in names])
        spent = self.spending[axis]
        crossing = int(np.searchsorted(spent, budget))
        # Row 0 is the start, where nothing is spent: a budget of nothing is read along the line.
        if crossing > 0 and crossing in self.evaluated:
            return Reading(*table[:, crossing].tolist())
        place = spent[self.evaluated]
        note = "short" if budget > place[-1] * (1 + 1e-9) else ""  # sums of seconds are rounded
        values = [float(np.interp(budget, place, row[self.evaluated])) for row in table]
        pass1, stderr, passk, length, truncated = values
        return Reading(pass1, stderr, passk, length, truncated, note)


def read_curves(folder: Path, samples: int) -> Curves:
    """RecipeError where a step's row is lost: what the run has spent is not known without it."""
    found, lost, told = rows.read(folder)
    if lost:
        fix = f"put the file back, or delete {folder} to run it again"
        raise RecipeError(f"{told}, the first of step {lost[0]}: {fix}")
    return Curves(found, samples)


def training_seconds(row: dict[str, Any]) -> float:
    """Seconds that a step took, evaluation left out."""
    spent = 0.0
    for name, seconds in row.items():
        if name.startswith("time/") and name not in NOT_TRAINING:
            spent += seconds or 0.0
    return spent


def budgets(reference: Curves, steps: int) -> dict[str, float]:
    """What the reference has spent in its ``steps`` steps."""
    return {axis: reference.spent(axis, steps) for axis in AXES}
