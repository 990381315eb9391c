"""One HTML page of a training run: what it reached, how it went, what it wrote, its settings."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from red_mcore.reports import page
from red_mcore.reports.plots import WIDE
from red_mcore.reports.run import first_screen
from red_mcore.reports.run.figures import RunFigures
from red_mcore.reports.run.folder import RunFolder, read_run
from red_mcore.reports.run.rollouts import Rollout
from red_mcore.system.disk import write_atomic

_EARLIER = 3
"""Earlier evaluations whose rollouts are on the page, folded up."""
_CARDS, _CARDS_OF_EARLIER = 8, 4
"""Rollouts shown of a kind."""


def write_report(folder: Path, out: Path | None = None) -> Path:
    """Write the page of the run in ``folder`` to ``out``, or to ``report.html`` in it; returns the
    path.

    RecipeError where it is no run or cannot be read. The run may still be going: the page is of
    what there is.
    """
    run = read_run(folder)
    out = out or folder / "report.html"
    recipe = yaml.safe_dump(run.recipe, sort_keys=False, allow_unicode=True) if run.recipe else ""
    made = page.render(
        "run.html",
        title=run.name,
        first=first_screen.answers(run),
        run=run,
        draw=RunFigures(run),
        wide=WIDE,
        samples=_samples(run),
        recipe=recipe,
    )
    write_atomic(out, made)
    return out


def _samples(run: RunFolder) -> list[dict[str, Any]]:
    """The last evaluation with rollouts, then some before it, the first among them."""
    if not run.samples:
        return []
    *before, last = sorted(run.samples)
    places = np.linspace(0, len(before) - 1, min(_EARLIER, len(before))).round().astype(int)
    found = [{"step": last, "columns": columns(run.samples[last], _CARDS)}]
    for step in sorted({before[place] for place in places}, reverse=True):
        found.append({"step": step, "columns": columns(run.samples[step], _CARDS_OF_EARLIER)})
    return found


def columns(rollouts: Sequence[Rollout], limit: int) -> list[dict[str, Any]]:
    """Right answers, and the others, up to ``limit`` of each; equal ones are shown once."""
    distinct = {(one.problem, one.text): one for one in rollouts}
    right = [one for one in distinct.values() if one.is_right]
    others = [one for one in distinct.values() if not one.is_right]
    return [
        {"title": "Right", "count": len(right), "shown": right[:limit]},
        {"title": "Not right", "count": len(others), "shown": others[:limit]},
    ]
