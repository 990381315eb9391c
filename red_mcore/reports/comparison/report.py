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
from red_mcore.comparison.plan import EQUAL, Plan, Run, may_differ
from red_mcore.comparison.results import Results, as_json
from red_mcore.config.redaction import redacted
from red_mcore.reports.comparison import tables
from red_mcore.reports.comparison.figures import Figures
from red_mcore.reports.page import render, write_files
from red_mcore.tracking.provenance import versions

Failed = Mapping[Run, list[str]]
"""Runs that failed, with the last lines of their logs."""


def write_comparison(results: Results, failed: Failed, command: list[str], jobs: int) -> list[Path]:
    """Write ``report.html``, its table and main figure apart, and ``results.json`` into the plan's
    folder; returns their paths."""
    made = provenance(results.plan, command, jobs)
    figures = Figures(results)
    dots = figures.dots()
    shown = {
        "title": f"{len(results.all)} methods against {results.reference.name}",
        "made": made,
        "results": results,
        "failed": failed,
        "figures": figures,
        "dots": dots,
        "methods": tables.methods(results),
        "against": tables.against_reference(results),
        "notes": notes(results, jobs),
        "verdicts": tables.verdicts(results),
        "several_seeds": len(results.plan.seeds) > 1,
        "chance": tables.chance(results),
        "pairs": {axis: tables.pairs(results, axis) for axis in AXES},
    }
    files = {
        "results.json": json.dumps(as_json(results, made), indent=1),
        "table.md": render("table.j2", **shown),
        "report.html": render("comparison.html", **shown),
        "accuracy.svg": dots.svg,
    }
    return write_files(results.plan.out, files)


def provenance(plan: Plan, command: list[str], jobs: int) -> dict[str, str]:
    """How the comparison was made."""
    recipe = plan.reference.recipe
    counts = set()
    for (seed, _), method in plan.runs.items():
        summary = plan.finished(seed, method)
        if method and summary:  # a base is not evaluated
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
        "equal in all recipes": f"{equal} (free: {', '.join(may_differ(recipe))}, and all else)",
    }


def notes(results: Results, jobs: int) -> list[str]:
    """How to read the tables and lines."""
    text = render("notes.j2", results=results, name=results.reference.name, jobs=jobs)
    return [*filter(None, text.splitlines()), *tables.legend(results)]
