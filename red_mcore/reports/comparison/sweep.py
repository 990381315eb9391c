"""The report of a sweep: every trial at the three budgets, and the best of each method."""

from __future__ import annotations

import json
import math
from functools import cached_property
from pathlib import Path

from red_mcore.comparison.curves import AXES
from red_mcore.comparison.results import Result, Results, as_json, mean_of
from red_mcore.config.tree import flatten
from red_mcore.reports.comparison import tables
from red_mcore.reports.comparison.report import Failed, provenance
from red_mcore.reports.page import Table, markdown, render, write_files


class Tried:
    """The trials of one recipe."""

    def __init__(self) -> None:
        self.trials: list[Result] = []

    @cached_property
    def scores(self) -> dict[str, float]:
        """Trial -> mean pass@1 over the three budgets; without trials that have none at one of
        them, or failed in some seed."""
        found = {}
        for trial in self.trials:
            score = _mean(trial)
            if score is not None and not trial.failed:
                found[trial.name] = score
        return found

    @cached_property
    def best(self) -> Result | None:
        """The trial of the highest score, the first of equals."""
        scored = [trial for trial in self.trials if trial.name in self.scores]
        return max(scored, key=lambda trial: self.scores[trial.name], default=None)

    def close_to(self, chosen: Result) -> list[str]:
        """Trials whose score is not known to be two standard errors of the difference, or more,
        below ``chosen``'s."""
        found = []
        for trial in self.trials:
            if trial is not chosen and trial.name in self.scores:
                below = self.scores[chosen.name] - self.scores[trial.name]
                if not below >= 2 * math.hypot(_error(chosen), _error(trial)):  # as NaN is not
                    found.append(trial.name)
        return found

    def edges_of(self, chosen: Result) -> list[str]:
        """The learning rates of ``chosen`` that are the lowest or the highest tried."""
        found = []
        recipes = [flatten(trial.method.recipe) for trial in self.trials]
        for field, value in flatten(chosen.method.recipe).items():
            if field.rpartition(".")[2] != "lr" or value is None:
                continue
            tried = [recipe[field] for recipe in recipes]
            lowest, highest = min(tried), max(tried)
            if lowest < highest and value in (lowest, highest):
                end = "lowest" if value == lowest else "highest"
                found.append(f"{field}={value:g} is the {end} tried")
        return found


def write_sweep(results: Results, failed: Failed, command: list[str], jobs: int) -> list[Path]:
    """Write ``sweep.html``, ``sweep.md`` and ``sweep.json`` into the plan's folder; returns their
    paths."""
    plan, made = results.plan, provenance(results.plan, command, jobs)
    lines, trials = choices(results), trials_table(results)
    seeds = ", ".join(map(str, plan.seeds))
    budgets = (
        f"Budgets are what {plan.reference.name} spends in {plan.steps} steps as its recipe is, in"
        f" each seed ({seeds}). The best trial has the highest mean of the three columns."
    )
    how = " ".join([budgets, *tables.legend(results)])
    best = {name: tried.best and tried.best.name for name, tried in by_method(results).items()}
    text = [*(f"- {line}" for line in lines), "", markdown(trials), how, ""]
    title = f"{len(trials.rows)} trials of {len(lines)} methods"
    shown = {"made": made, "failed": failed, "choices": lines, "trials": trials, "how": how}
    files = {
        "sweep.json": json.dumps(as_json(results, made) | {"best": best}, indent=1),
        "sweep.md": "\n".join(text),
        "sweep.html": render("sweep.html", title=title, **shown),
    }
    return write_files(plan.out, files)


def by_method(results: Results) -> dict[str, Tried]:
    """Recipe -> its trials, in the order given."""
    found: dict[str, Tried] = {}
    for result in results.all:
        if result.method.of:
            found.setdefault(result.method.of, Tried()).trials.append(result)
    return found


def choices(results: Results) -> list[str]:
    """A line for each method: the best trial, whether it lies at the edge of what was tried, and
    which are close."""
    lines = []
    for name, tried in by_method(results).items():
        chosen = tried.best
        if chosen is None:
            lines.append(f"{name}: every trial failed")
            continue
        line = f"{name}: {' '.join(chosen.method.settings)}"
        if remarks := tried.edges_of(chosen):
            line += f"; at the edge: {', '.join(remarks)}"
        if others := tried.close_to(chosen):
            line += f"; not told apart from {', '.join(others)}"
        lines.append(line)
    return lines


def trials_table(results: Results) -> Table:
    header = ["trial", "settings", *(f"pass@1, equal {axis}" for axis in AXES)]
    rows = []
    for tried in by_method(results).values():
        for trial in tried.trials:
            row = [trial.name, " ".join(trial.method.settings)]
            for axis in AXES:
                row.append(tables.shown(trial.mean(axis)) + tables.marks(axis, trial))
            remark = "failed" if trial.failed else ""
            if trial is tried.best:
                remark = "best"
            rows.append([*row, tables.shown(_mean(trial)), remark])
    return Table([*header, "mean of the three", ""], rows)


def _mean(result: Result) -> float | None:
    return mean_of(result.mean(axis) for axis in AXES)


def _error(result: Result) -> float:
    """The standard error of a score; the seeds and budgets share the problems, so that it is their
    mean."""
    error = mean_of(result.mean(axis, "stderr") for axis in AXES)
    assert error is not None, "a trial that has a score has its errors"
    return error
