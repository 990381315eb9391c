"""One HTML file with everything, and the tables as Markdown."""

from __future__ import annotations

import datetime
import json
import os
import platform
import shlex
from collections.abc import Mapping
from pathlib import Path

from red_mcore.comparison.curves import AXES
from red_mcore.comparison.legs import Run
from red_mcore.comparison.plan import EQUAL, MAY_DIFFER, Plan
from red_mcore.comparison.results import Results, as_json
from red_mcore.config.redaction import redacted
from red_mcore.reports.comparison import tables
from red_mcore.reports.comparison.figures import Figures
from red_mcore.reports.page import markdown, render, write_files
from red_mcore.reports.plots import short
from red_mcore.tracking.provenance import versions

Failed = Mapping[Run, list[str]]
"""Runs that failed, with the last lines of their logs."""


def write_comparison(results: Results, failed: Failed, command: list[str], jobs: int) -> list[Path]:
    """Write ``report.html``, its table and main figure apart, and ``results.json`` into the plan's
    folder; returns their paths."""
    made = provenance(results.plan, command, jobs)
    name = results.reference.name
    figures, remarks = Figures(results), notes(results, jobs)
    methods, against = tables.methods(results), tables.against_reference(results)
    verdicts, dots = tables.verdicts(results), figures.dots()
    table = [markdown(methods), *_bullets(remarks), f"\npass@1 minus that of {name}:\n"]
    table += [markdown(against), *_bullets(verdicts), ""]
    page = render(
        "comparison.html",
        title=f"{len(results.all)} methods against {name}",
        made=made,
        results=results,
        failed=failed,
        figures=figures,
        dots=dots,
        methods=methods,
        against=against,
        notes=remarks,
        verdicts=verdicts,
        several_seeds=len(results.plan.seeds) > 1,
        chance=tables.chance(results),
        pairs={axis: tables.pairs(results, axis) for axis in AXES},
    )
    files = {
        "results.json": json.dumps(as_json(results, made), indent=1),
        "table.md": "\n".join(table),
        "report.html": page,
        "accuracy.svg": dots.svg,
    }
    return write_files(results.plan.out, files)


def _bullets(lines: list[str]) -> list[str]:
    return [f"- {line}" for line in lines]


def provenance(plan: Plan, command: list[str], jobs: int) -> dict[str, str]:
    """How the comparison was made."""
    recipe = plan.reference.recipe
    counts = set()
    for seed in plan.seeds:
        for method in plan.all:
            summary = plan.finished(seed, method)
            if summary:
                counts.add(str(summary["held_out_problems"]))
    equal = ", ".join(prefix.rstrip(".") for prefix in EQUAL)
    start = recipe.model.path or "a model at random, the same for all methods of a seed"
    if recipe.base is not None:
        start = f"per seed one base for all methods, {recipe.base.steps} steps on the base corpus"
    return {
        "command": redacted(shlex.join(command)),
        "date": datetime.datetime.now().astimezone().isoformat(sep=" ", timespec="minutes"),
        "versions": ", ".join(versions()),
        "machine": f"{platform.system()} {platform.machine()}, {os.cpu_count()} CPUs,"
        f" {jobs} run(s) at a time of {recipe.parallel.ranks} rank(s) each",
        "seeds": ", ".join(map(str, plan.seeds)),
        "evaluation": f"{'/'.join(sorted(counts, key=int)) or 'no'} held-out problems"
        f" x {recipe.evaluation.samples} samples at temperature {recipe.evaluation.temperature:g}",
        "start": start,
        "equal in all recipes": f"{equal} (free: {', '.join(MAY_DIFFER)}, and all else)",
    }


def notes(results: Results, jobs: int) -> list[str]:
    """How to read the tables and lines."""
    lines = []
    tokens, seconds = results.budget("tokens"), results.budget("seconds")
    if tokens is not None and seconds is not None:
        lines.append(
            f"The budgets of each seed are what {results.reference.name} spends in"
            f" {results.plan.steps} steps: on average {short(tokens)} generated tokens and"
            f" {short(seconds)} training seconds. Every other method ran as many steps or more and,"
            " where it had then spent less, went on until it had spent as much."
        )
    shared = interval = ""
    if jobs > 1:
        shared = f" {jobs} runs shared the machine, so seconds compare only if it has cores for all."
    interval = "normal, from errors over problems"
    if results.over_seeds:
        interval = "Student's t on the values of the seeds; it does not hold the choice of the problems"
    lines += [
        "Learning rates are constant after warm-up, so that a point along a run is also the end of"
        " a shorter one. Values at a budget are read at the evaluation of the step that spends it;"
        " where that step has none, they lie on the straight line between the evaluations around"
        " it.",
        "Training seconds are those of sampling, grading, scoring, updating and publishing;"
        " starting, evaluating and saving do not count. They are of this machine, with whatever"
        f" else it had to do.{shared}",
        f"± is half of the 95 % confidence interval: {interval}. The held-out problems are the same"
        " for all methods and seeds; a difference between two methods is therefore known better"
        " than their intervals say.",
        "Length and share cut off are those at equal seconds. Steps (of the loop), updates (of the"
        " optimizer), tokens, FLOPs and seconds are of the whole run. Rows are sorted by pass@1 at"
        " equal seconds.",
        "Trained tokens are those of all samples and lessons trained on, prompts included."
        " FLOPs = (6 x trained + 2 x generated tokens) x parameters; scoring, and prompts in"
        " sampling, are left out.",
    ]
    return lines + tables.legend(results)
