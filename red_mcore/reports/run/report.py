"""One HTML page of a training run: what it reached, how it went, what it wrote, its settings."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import yaml

from red_mcore.reports import page
from red_mcore.reports.plots import WIDE
from red_mcore.reports.run import first_screen
from red_mcore.reports.run.figures import RunFigures
from red_mcore.reports.run.folder import RunFolder, read_run
from red_mcore.reports.run.rollouts import Rollout, evenly
from red_mcore.system.disk import write_atomic

_EARLIER = 3
"""Earlier evaluations whose rollouts are on the page, folded up."""
_CARDS, _CARDS_OF_EARLIER = 8, 4
"""Rollouts shown of a kind."""


class Sample(NamedTuple):
    """What a run wrote at one evaluation."""

    step: int
    rollouts: list[Rollout]
    """Equal ones are here once."""
    limit: int
    """How many to show of the right ones, and of the others."""


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


def _samples(run: RunFolder) -> list[Sample]:
    """The last evaluation with rollouts, then some before it, the first among them."""
    steps = list(run.samples)  # in their order
    if not steps:
        return []
    found = []
    for step in [steps[-1], *reversed(evenly(steps[:-1], _EARLIER))]:
        distinct = {(one.problem, one.text): one for one in run.samples[step]}
        limit = _CARDS if step == steps[-1] else _CARDS_OF_EARLIER
        found.append(Sample(step, list(distinct.values()), limit))
    return found
