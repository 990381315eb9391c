"""One HTML file with everything, and the tables as Markdown."""

from __future__ import annotations

import datetime
import html
import json
import os
import platform
import shlex
from pathlib import Path

from red_mcore.comparison.curves import AXES
from red_mcore.comparison.legs import Run
from red_mcore.comparison.plan import EQUAL, MAY_DIFFER, Plan
from red_mcore.comparison.results import Results, as_json
from red_mcore.config.redaction import redacted
from red_mcore.reports.comparison import tables
from red_mcore.reports.comparison.figures import Figures
from red_mcore.reports.page import definitions, figure, page, scrolling, write_files
from red_mcore.reports.plots import short
from red_mcore.tracking.provenance import versions


def write_comparison(results: Results, failed: dict[Run, list[str]], command: list[str], jobs: int) -> list[Path]:
    """``report.html``, its table and main figure apart, and ``results.json`` in the plan's folder; their paths."""
    made = provenance(results.plan, command, jobs)
    name = results.reference.name
    files = {
        "results.json": json.dumps(as_json(results, made), indent=1),
        "table.md": "\n".join(
            [
                tables.markdown(tables.methods(results)),
                *(f"- {line}" for line in notes(results, jobs)),
                f"\npass@1 minus that of {name}:\n",
                tables.markdown(tables.against_reference(results)),
                *(f"- {line}" for line in tables.verdicts(results)),
                "",
            ]
        ),
        "report.html": page(f"{len(results.all)} methods against {name}", _body(results, failed, made, jobs)),
        "accuracy.svg": Figures(results).dots(),
    }
    return write_files(results.plan.out, files)


def provenance(plan: Plan, command: list[str], jobs: int) -> dict[str, str]:
    """How it was made."""
    settings = plan.reference.recipe.evaluation
    problems = {
        summary["held_out_problems"]
        for seed in plan.seeds
        for method in plan.all
        if (summary := plan.finished(seed, method))
    }
    return {
        "command": redacted(shlex.join(command)),
        "date": datetime.datetime.now().astimezone().isoformat(sep=" ", timespec="minutes"),
        "versions": ", ".join(versions()),
        "machine": f"{platform.system()} {platform.machine()}, {os.cpu_count()} CPUs, {jobs} run(s) at a time of"
        f" {plan.reference.recipe.parallel.ranks} rank(s) each",
        "seeds": ", ".join(map(str, plan.seeds)),
        "evaluation": f"{'/'.join(map(str, sorted(problems))) or 'no'} held-out problems x {settings.samples} samples"
        f" at temperature {settings.temperature:g}",
        "start": _start(plan),
        "equal in all recipes": ", ".join(prefix.rstrip(".") for prefix in EQUAL)
        + f" (free: {', '.join(MAY_DIFFER)}, and all else)",
    }


def _start(plan: Plan) -> str:
    recipe = plan.reference.recipe
    if plan.has_base:
        return f"per seed one base for all methods, {recipe.base.steps} steps on the base corpus"
    return recipe.model.path or "a model at random, the same for all methods of a seed"


def notes(results: Results, jobs: int) -> list[str]:
    """How to read the tables and lines."""
    plan, name = results.plan, results.reference.name
    spent = {axis: results.budget(axis) for axis in AXES}
    lines = []
    if results.budgets:
        lines.append(
            f"The budgets of each seed are what {name} spends in {plan.steps} steps: on average"
            f" {short(spent['tokens'])} generated tokens and {short(spent['seconds'])} training seconds. Every other"
            f" method ran as many steps or more and, where it had then spent less, went on until it had spent as much."
        )
    interval = (
        "Student's t on the values of the seeds; it does not hold the choice of the problems"
        if results.over_seeds
        else "normal, from errors over problems"
    )
    lines += [
        "Learning rates are constant after warm-up, so that a point along a run is also the end of a shorter one."
        " Values at a budget are read at the evaluation of the step that spends it; where that step has none, they lie"
        " on the straight line between the evaluations around it.",
        "Training seconds are those of sampling, grading, scoring, updating and publishing; starting, evaluating and"
        " saving do not count. They are of this machine, with whatever else it had to do."
        + (f" {jobs} runs shared the machine, so seconds compare only if it has cores for all." if jobs > 1 else ""),
        f"± is half of the 95 % confidence interval: {interval}. The held-out problems are the same for all methods and"
        " seeds; a difference between two methods is therefore known better than their intervals say.",
        "Length and share cut off are those at equal seconds. Steps (of the loop), updates (of the optimizer), tokens,"
        " FLOPs and seconds are of the whole run. Rows are sorted by pass@1 at equal seconds.",
        "Trained tokens are those of all samples and lessons trained on, prompts included. FLOPs = (6 x trained + 2 x"
        " generated tokens) x parameters; scoring, and prompts in sampling, are left out.",
    ]
    return lines + tables.legend(results)


def _body(results: Results, failed: dict[Run, list[str]], made: dict[str, str], jobs: int) -> str:
    figures, name, k = Figures(results), results.reference.name, results.k
    parts = [definitions(made)]
    if failed:
        parts += ["<h2>Failed runs</h2>", failures(failed)]
    parts += [
        "<h2>pass@1 at equal steps, tokens and seconds</h2>",
        figure(figures.budgets(), width="full"),
        "<p class=note>Means over seeds, with 95 % intervals where coloured. In colour: the reference, the plain"
        " methods, and those with the highest pass@1 at equal seconds. Methods that generate no tokens are not in the"
        " middle panel.</p>",
        figure(figures.dots(), width="full"),
        f"<p class=note>Mean, 95 % interval, a ring per seed; the dotted line is {html.escape(name)}.</p>",
        "<h2>Every method</h2>",
        scrolling(table(tables.methods(results), name)),
        *(f"<p class=note>{html.escape(line)}</p>" for line in notes(results, jobs)),
        f"<h2>Against {html.escape(name)}</h2>",
        *(f"<p>{html.escape(line)}</p>" for line in tables.verdicts(results)),
        scrolling(table(tables.against_reference(results), name)),
    ]
    if len(results.plan.seeds) > 1:
        parts.append(
            f"<p class=note>pass@1 minus that of {html.escape(name)}: mean, and each seed. ▲ above, ▼ below in all"
            f" seeds, · neither. {tables.chance(results)}</p>"
        )
    if len(results.all) > 1:
        parts += [
            "<h2>One by one</h2>",
            figure(figures.multiples(), width="full"),
            f"<p class=note>pass@1 against training seconds: the method blue, {html.escape(name)} dashed.</p>",
        ]
    parts += [f"<h2>pass@{k}</h2>", figure(figures.pass_k(), width="full")]
    parts += ["<h2>Behaviour</h2>", figure(figures.behaviour(), width="full")]
    parts.append(
        "<p class=note>Entropies and weight: means over seeds, and running means over a tenth of the steps.</p>"
    )
    if len(results.plan.seeds) > 1:
        parts.append("<h2>Every pair</h2><p class=note>▲ the row is above the column in all seeds, ▼ below.</p>")
        for axis in AXES:
            parts += [f"<h3>at equal {axis}</h3>", scrolling(table(tables.pairs(results, axis), "", "pairs"))]
    return "\n".join(parts)


def failures(failed: dict[Run, list[str]]) -> str:
    """The last lines of each failed run."""
    return "".join(
        f"<p>seed {seed}, {html.escape(name)}:</p><pre>{html.escape(chr(10).join(lines))}</pre>"
        for (seed, name), lines in failed.items()
    )


def table(content: tables.Table, reference: str, kind: str = "") -> str:
    """As HTML; the row of the reference is shaded."""
    header, rows = content
    lines = [f"<table class='{kind}'><tr>{''.join(f'<th>{html.escape(cell)}</th>' for cell in header)}</tr>"]
    for row in rows:
        shade = " class=reference" if row[0].text == reference else ""
        lines.append(f"<tr{shade}>{''.join(_cell(cell) for cell in row)}</tr>")
    return "\n".join([*lines, "</table>"])


def _cell(cell: tables.Cell) -> str:
    colour = {1: " class=plus", -1: " class=minus"}.get(cell.sign, "")
    detail = f"<small>{html.escape(cell.detail)}</small>" if cell.detail else ""
    return f"<td{colour}>{html.escape(cell.text)}{detail}</td>"
