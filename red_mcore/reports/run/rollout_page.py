"""A page of a run's rollouts as text, steps side by side: the same problems over the steps, then each step's groups.

What stands in ``rollouts/`` is shown as it is, prompts with the template's tokens, nothing rendered.
"""

from __future__ import annotations

import html
import re
from collections.abc import Collection, Iterable, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

from red_mcore.config.recipe import RecipeError
from red_mcore.reports.page import details, note, page, section, table
from red_mcore.system.disk import read_lines, write_atomic

Row = dict[str, Any]
COLUMNS = 4
"""Steps side by side, unless others are asked for."""
_HEAD, _TAIL = 6000, 4000
"""Characters shown of the begin and the end of a text that is longer than both."""
_STYLE = """
.steps { display: grid; grid-auto-flow: column; grid-auto-columns: minmax(17em, 1fr); gap: 12px; overflow-x: auto;
  align-items: start; margin: .4em 0 1em; }
.steps h4 { margin: 0 0 .4em; font-size: 13px; }
.answer, .group { border: 1px solid rgba(128, 128, 128, .35); border-radius: 5px; margin-bottom: 8px;
  padding: .3em .6em; }
.answer { border-left: 4px solid #D55E00; } .answer.correct { border-left-color: #009E73; }
.answer summary { color: inherit; font-size: 13px; overflow-wrap: anywhere; }
.steps pre { max-height: 26em; overflow-y: auto; margin: .4em 0; background: rgba(128, 128, 128, .12); color: inherit; }
"""


def write_page(folder: Path, out: Path | None = None, steps: Collection[int] = (), groups: int = 4) -> Path:
    """Write the page of the run in ``folder`` to ``out``, or to ``rollouts.html`` in it; the path.

    ``steps``: those to set side by side, else a few, the first and the last among them. ``groups``: problems shown of a
    training step. RecipeError where nothing is kept, or not of these steps, or a file cannot be read.
    """
    training, evaluations = read(folder, "training"), read(folder, "evaluation")
    if not training and not evaluations:
        raise RecipeError(f"{folder / 'rollouts'} has no rollouts: is it a run, and tracking.rollouts_every above 0?")
    if unknown := sorted(set(steps) - training.keys() - evaluations.keys()):
        there = ", ".join(map(str, sorted(training.keys() | evaluations.keys())))
        raise RecipeError(f"no rollouts of step {unknown[0]} are kept in {folder / 'rollouts'}: there are {there}")
    out = out or folder / "rollouts.html"
    body = [
        note(f"Of {folder.absolute()}. Texts are as the model read and wrote them; a click opens one."),
        section("Steps", _overview("evaluation", evaluations), _overview("training", training)),
        section("Held-out problems", _same_problems(_chosen(evaluations, steps))),
        section("Training", *_training(_chosen(training, steps), groups)),
    ]
    write_atomic(out, page(f"{folder.absolute().name}: rollouts", "\n".join(filter(None, body)), style=_STYLE))
    return out


def read(folder: Path, kind: str) -> dict[int, list[Row]]:
    """Step -> rows kept as ``KIND-STEP.jsonl``, in order. RecipeError for a file broken in more than its end."""
    found = {}
    for file in sorted((folder / "rollouts").glob(f"{kind}-*.jsonl")):
        if number := re.fullmatch(rf"{kind}-(\d+)", file.stem):
            try:
                found[int(number[1])] = [row for row in read_lines(file) if isinstance(row, dict)]
            except ValueError as error:
                raise RecipeError(f"{file} has a line that is no JSON: {error}") from None
    return dict(sorted(found.items()))


def _chosen(kept: dict[int, list[Row]], steps: Collection[int]) -> dict[int, list[Row]]:
    if steps:
        return {step: rows for step, rows in kept.items() if step in steps}
    every = list(kept)
    places = {round(i * (len(every) - 1) / (COLUMNS - 1)) for i in range(COLUMNS)}
    return {step: kept[step] for place, step in enumerate(every) if place in places}


def _overview(kind: str, kept: dict[int, list[Row]]) -> str:
    """One row a step."""
    if not kept:
        return ""
    lines = []
    for step, rows in kept.items():
        rollouts = [row for row in rows if not row.get("trace")]
        rewards = [row["reward"] for row in rollouts if isinstance(row.get("reward"), (int, float))]
        right = sum(row.get("verdict") == "correct" for row in rollouts)
        lines.append(
            [
                f"{kind} {step}",
                f"{len(rollouts)}",
                f"{right / len(rollouts):.1%}" if rollouts else "",
                f"{sum(rewards) / len(rewards):.3g}" if rewards else "",
                f"{sum(_number(row, 'tokens') for row in rollouts) / len(rollouts):.0f}" if rollouts else "",
                f"{sum(bool(row.get('truncated')) for row in rollouts) / len(rollouts):.1%}" if rollouts else "",
            ]
        )
    return table(["step", "rollouts", "right", "mean reward", "tokens", "cut off"], lines)


def _same_problems(kept: dict[int, list[Row]]) -> str:
    """Each problem with its answers at every step."""
    problems = dict.fromkeys(_text(row, "problem") for rows in kept.values() for row in rows)
    parts = []
    for problem in problems:
        columns, first = [], None
        for step, rows in kept.items():
            found = [row for row in rows if _text(row, "problem") == problem]
            first = first or next(iter(found), None)
            columns.append(_column(f"step {step}", map(_answer, found)))
        parts.append(f"<h3>{_short(problem)}</h3>{_about(first)}<div class=steps>{''.join(columns)}</div>")
    return "".join(parts)


def _training(kept: dict[int, list[Row]], most: int) -> list[str]:
    if not kept:
        return []
    columns = []
    for step, rows in kept.items():
        groups = [list(found) for _, found in groupby(rows, lambda row: row.get("group"))]
        of = f" ({most} of {len(groups)} problems)" if len(groups) > most else ""
        columns.append(_column(f"step {step}{of}", map(_group, groups[:most])))
    return [f"<div class=steps>{''.join(columns)}</div>"]


def _column(title: str, parts: Iterable[str]) -> str:
    return f"<div><h4>{html.escape(title)}</h4>{''.join(parts)}</div>"


def _group(rows: Sequence[Row]) -> str:
    rollouts = [row for row in rows if not row.get("trace")]
    right = sum(row.get("verdict") == "correct" for row in rollouts)
    count = f"<p class=note>{right} of {len(rollouts)} right</p>" if rollouts else ""
    answers = "".join(map(_answer, rows))
    return f"<div class=group><b>{_short(_text(rows[0], 'problem'))}</b>{_about(rows[0])}{count}{answers}</div>"


def _about(row: Row) -> str:
    """Gold and prompt."""
    gold = f"<p class=note>gold {html.escape(_text(row, 'gold'))}</p>"
    return gold + (details("prompt", _pre(_text(row, "prompt"))) if row.get("prompt") else "")


def _answer(row: Row) -> str:
    verdict = _text(row, "verdict") or "no verdict"
    facts = [verdict + (", a trace" if row.get("trace") else "")]
    for name, form in (("reward", "reward {:g}"), ("advantage", "advantage {:+.2f}"), ("tokens", "{:.0f} tokens")):
        if isinstance(row.get(name), (int, float)):
            facts.append(form.format(row[name]))
    facts += ["cut off"] if row.get("truncated") else []
    kind = "answer correct" if verdict == "correct" else "answer"
    made = html.escape(" \N{MIDDLE DOT} ".join(facts))
    return f"<details class='{kind}'><summary>{made}</summary>{_pre(_text(row, 'response'))}</details>"


def _pre(text: str) -> str:
    if len(text) > _HEAD + _TAIL:
        left_out = len(text) - _HEAD - _TAIL
        text = f"{text[:_HEAD]}\n[... {left_out:,} characters left out ...]\n{text[-_TAIL:]}"
    return f"<pre>{html.escape(text)}</pre>"


def _short(text: str) -> str:
    line = " ".join(text.split())
    return html.escape(line if len(line) <= 160 else f"{line[:160]} ...")


def _text(row: Row, name: str) -> str:
    return str(row.get(name) or "")


def _number(row: Row, name: str) -> float:
    value = row.get(name)
    return value if isinstance(value, (int, float)) else 0.0
