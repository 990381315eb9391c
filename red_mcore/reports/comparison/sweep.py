"""The report of a sweep: every trial at the three budgets, and the best of each method."""

from __future__ import annotations

import html
import json
import math
import statistics
from pathlib import Path

from red_mcore.comparison.curves import AXES
from red_mcore.comparison.legs import Run
from red_mcore.comparison.results import Result, Results, as_json
from red_mcore.config.tree import flatten
from red_mcore.reports.comparison import tables
from red_mcore.reports.comparison.report import failures, provenance, table
from red_mcore.reports.comparison.tables import Cell, fraction
from red_mcore.reports.page import definitions, page, scrolling, write_files


def score(result: Result) -> float | None:
    """Mean pass@1 over the three budgets; None where one is missing."""
    means = [result.mean(axis) for axis in AXES]
    return None if None in means else statistics.fmean(means)


def error(result: Result) -> float:
    """Standard error of ``score``; the seeds and budgets share the problems, so that it is their mean."""
    return statistics.fmean(result.mean(axis, "stderr") for axis in AXES)


def by_method(results: Results) -> dict[str, list[Result]]:
    """Trials of each recipe, in the order given."""
    found: dict[str, list[Result]] = {}
    for result in results.all:
        if result.method.of:
            found.setdefault(result.method.of, []).append(result)
    return found


def best(trials: list[Result]) -> Result | None:
    """The trial of the highest score, the first of equals; a trial that failed in some seed is out."""
    return max(_scored(trials), key=score, default=None)


def _scored(trials: list[Result]) -> list[Result]:
    return [t for t in trials if score(t) is not None and not t.failed]


def close(chosen: Result, trials: list[Result]) -> list[str]:
    """Trials whose score is not known to be two standard errors of the difference, or more, below ``chosen``'s."""
    return [
        t.name
        for t in _scored(trials)
        if t is not chosen and not score(chosen) - score(t) >= 2 * math.hypot(error(chosen), error(t))
    ]


def edges(chosen: Result, trials: list[Result]) -> list[str]:
    """The learning rates of ``chosen`` that are the lowest or the highest tried."""
    own = flatten(chosen.method.recipe)
    found = []
    for field in own:
        if field.rpartition(".")[2] == "lr" and own[field] is not None:
            tried = sorted({flatten(t.method.recipe)[field] for t in trials})
            if len(tried) > 1 and own[field] in (tried[0], tried[-1]):
                end = "lowest" if own[field] == tried[0] else "highest"
                found.append(f"{field}={own[field]:g} is the {end} tried")
    return found


def trials_table(results: Results) -> tables.Table:
    header = ["trial", "settings", *(f"pass@1, equal {axis}" for axis in AXES), "mean of the three", ""]
    rows = []
    for trials in by_method(results).values():
        chosen = best(trials)
        for trial in trials:
            cells = [Cell(trial.name), Cell(" ".join(trial.method.settings))]
            for axis in AXES:
                mean = trial.mean(axis)
                cells.append(Cell("-" if mean is None else f"{fraction(mean)}{tables.marks(axis, trial)}"))
            total = score(trial)
            remark = "best" if trial is chosen else "failed" if trial.failed else ""
            rows.append([*cells, Cell("-" if total is None else fraction(total)), Cell(remark)])
    return header, rows


def choices(results: Results) -> list[str]:
    """A line for each method: the best trial, whether it lies at the edge of what was tried, and which are close."""
    lines = []
    for name, trials in by_method(results).items():
        chosen = best(trials)
        if chosen is None:
            lines.append(f"{name}: every trial failed")
            continue
        remarks = edges(chosen, trials)
        remark = f"; at the edge: {', '.join(remarks)}" if remarks else ""
        if others := close(chosen, trials):
            remark += f"; not told apart from {', '.join(others)}"
        lines.append(f"{name}: {' '.join(chosen.method.settings)}{remark}")
    return lines


def write_sweep(results: Results, failed: dict[Run, list[str]], command: list[str], jobs: int) -> list[Path]:
    """``sweep.html``, ``sweep.md`` and ``sweep.json`` in the plan's folder; their paths."""
    made = provenance(results.plan, command, jobs)
    lines, content, how = choices(results), trials_table(results), _how(results)
    body = [
        definitions(made),
        "<h2>Failed runs</h2>" + failures(failed) if failed else "",
        "<h2>The best trial of each method</h2>",
        "<ul>" + "".join(f"<li>{html.escape(line)}</li>" for line in lines) + "</ul>",
        "<h2>Every trial</h2>",
        scrolling(table(content, "")),
        f"<p class=note>{html.escape(how)}</p>",
    ]
    chosen = {name: one.name if (one := best(trials)) else None for name, trials in by_method(results).items()}
    files = {
        "sweep.json": json.dumps(as_json(results, made) | {"best": chosen}, indent=1),
        "sweep.md": "\n".join([*(f"- {line}" for line in lines), "", tables.markdown(content), how, ""]),
        "sweep.html": page(f"{len(content[1])} trials of {len(lines)} methods", "\n".join(body)),
    }
    return write_files(results.plan.out, files)


def _how(results: Results) -> str:
    plan = results.plan
    how = (
        f"Budgets are what {plan.reference.name} spends in {plan.steps} steps as its recipe is, in each seed"
        f" ({', '.join(map(str, plan.seeds))}). The best trial has the highest mean of the three columns."
    )
    return " ".join([how, *tables.legend(results)])
