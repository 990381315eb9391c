"""The report of a sweep: every trial at the three budgets, and the best of each method."""

from __future__ import annotations

import json
import math
from pathlib import Path

from red_mcore.comparison.curves import AXES
from red_mcore.comparison.results import Result, Results, as_json, mean_of
from red_mcore.config.tree import flatten
from red_mcore.reports.comparison import tables
from red_mcore.reports.comparison.report import Failed, provenance
from red_mcore.reports.page import Table, markdown, render, write_files


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
    chosen = {}
    for name, tried in by_method(results).items():
        one = best(tried)
        chosen[name] = one.name if one else None
    text = [*(f"- {line}" for line in lines), "", markdown(trials), how, ""]
    title = f"{len(trials.rows)} trials of {len(lines)} methods"
    shown = {"made": made, "failed": failed, "choices": lines, "trials": trials, "how": how}
    files = {
        "sweep.json": json.dumps(as_json(results, made) | {"best": chosen}, indent=1),
        "sweep.md": "\n".join(text),
        "sweep.html": render("sweep.html", title=title, **shown),
    }
    return write_files(plan.out, files)


def by_method(results: Results) -> dict[str, list[Result]]:
    """Trials of each recipe, in the order given."""
    found: dict[str, list[Result]] = {}
    for result in results.all:
        if result.method.of:
            found.setdefault(result.method.of, []).append(result)
    return found


def score(result: Result) -> float | None:
    """Mean pass@1 over the three budgets; None where one is missing, or the trial failed in some
    seed."""
    return None if result.failed else _mean(result)


def _mean(result: Result) -> float | None:
    return mean_of(result.mean(axis) for axis in AXES)


def best(trials: list[Result]) -> Result | None:
    """The trial of the highest score, the first of equals."""
    scored = [trial for trial in trials if score(trial) is not None]
    return max(scored, key=score, default=None)


def close(chosen: Result, trials: list[Result]) -> list[str]:
    """Trials whose score is not known to be two standard errors of the difference, or more, below
    ``chosen``'s."""
    found = []
    for trial in trials:
        if trial is not chosen and score(trial) is not None:
            least = 2 * math.hypot(_error(chosen), _error(trial))
            if not score(chosen) - score(trial) >= least:
                found.append(trial.name)
    return found


def _error(result: Result) -> float:
    """The standard error of ``score``; the seeds and budgets share the problems, so that it is
    their mean."""
    error = mean_of(result.mean(axis, "stderr") for axis in AXES)
    assert error is not None, "a trial that has a score has its errors"
    return error


def edges(chosen: Result, trials: list[Result]) -> list[str]:
    """The learning rates of ``chosen`` that are the lowest or the highest tried."""
    found = []
    recipes = [flatten(trial.method.recipe) for trial in trials]
    for field, value in flatten(chosen.method.recipe).items():
        if field.rpartition(".")[2] == "lr" and value is not None:
            tried = sorted({recipe[field] for recipe in recipes})
            if len(tried) > 1 and value in (tried[0], tried[-1]):
                end = "lowest" if value == tried[0] else "highest"
                found.append(f"{field}={value:g} is the {end} tried")
    return found


def choices(results: Results) -> list[str]:
    """A line for each method: the best trial, whether it lies at the edge of what was tried, and
    which are close."""
    lines = []
    for name, trials in by_method(results).items():
        chosen = best(trials)
        if chosen is None:
            lines.append(f"{name}: every trial failed")
            continue
        line = f"{name}: {' '.join(chosen.method.settings)}"
        if remarks := edges(chosen, trials):
            line += f"; at the edge: {', '.join(remarks)}"
        if others := close(chosen, trials):
            line += f"; not told apart from {', '.join(others)}"
        lines.append(line)
    return lines


def trials_table(results: Results) -> Table:
    header = ["trial", "settings", *(f"pass@1, equal {axis}" for axis in AXES)]
    rows = []
    for trials in by_method(results).values():
        chosen = best(trials)
        for trial in trials:
            row = [trial.name, " ".join(trial.method.settings)]
            for axis in AXES:
                row.append(tables.shown(trial.mean(axis)) + tables.marks(axis, trial))
            row.append(tables.shown(_mean(trial)))
            remark = "failed" if trial.failed else ""
            rows.append([*row, "best" if trial is chosen else remark])
    return Table([*header, "mean of the three", ""], rows)
