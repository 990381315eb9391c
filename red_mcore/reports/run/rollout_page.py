"""A page of a run's rollouts as text: the same problems over the steps, then each step's groups.

It shows what stands in ``rollouts/`` as it is, prompts with the template's tokens, not rendered.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np

from red_mcore.config.recipe import RecipeError
from red_mcore.reports import page
from red_mcore.reports.run.rollouts import Rollout, evenly, read
from red_mcore.system.disk import read_lines, write_atomic

COLUMNS = 4
"""Steps side by side, unless others are asked for."""
Kept = Mapping[int, list[Rollout]]
"""Step -> its rollouts."""


def write_page(
    folder: Path, out: Path | None = None, steps: Collection[int] = (), groups: int = 4
) -> Path:
    """Write the page of the run in ``folder`` to ``out``, or to ``rollouts.html`` in it.

    ``steps``: those to set side by side, else a few, the first and the last among them. ``groups``:
    problems shown of a training step. Returns the path. RecipeError where nothing is kept, or not
    of these steps, or a file cannot be read.
    """
    training, evaluations = read(folder, "training", _rows), read(folder, "evaluation", _rows)
    kept = folder / "rollouts"
    there = sorted(training.keys() | evaluations.keys())
    if not there:
        fix = "is it a run, and tracking.rollouts_every above 0?"
        raise RecipeError(f"{kept} has no rollouts: {fix}")
    if missing := set(steps).difference(there):
        known = ", ".join(map(str, there))
        raise RecipeError(
            f"no rollouts of step {min(missing)} are kept in {kept}: there are {known}"
        )
    path = folder.absolute()
    out = out or folder / "rollouts.html"
    made = page.render(
        "rollouts.html",
        title=f"{path.name}: rollouts",
        folder=path,
        overviews=[_overview("evaluation", evaluations), _overview("training", training)],
        problems=_problems(_chosen(evaluations, steps)),
        training=_groups(_chosen(training, steps)),
        limit=groups,
    )
    write_atomic(out, made)
    return out


def _rows(file: Path) -> list[dict[str, Any]]:
    try:
        return read_lines(file)
    except ValueError as error:
        raise RecipeError(f"{file} has a line that is no JSON: {error}") from None


def _chosen(kept: Kept, steps: Collection[int]) -> Kept:
    wanted = steps or evenly(list(kept), COLUMNS)
    return {step: found for step, found in kept.items() if step in wanted}


def _overview(kind: str, kept: Kept) -> list[list[str]]:
    """Rows of a table: step, rollouts, right, mean reward, tokens, cut off."""
    lines = []
    for step, every in kept.items():
        rollouts = [one for one in every if not one.is_trace]
        line = [f"{kind} {step}", str(len(rollouts)), "", "", "", ""]
        if rollouts:
            rewards = np.array([one.number("reward") for one in rollouts], float)
            rewards = rewards[~np.isnan(rewards)]
            line[2] = f"{np.mean([one.is_right for one in rollouts]):.1%}"
            line[3] = f"{np.mean(rewards):.3g}" if len(rewards) else ""
            line[4] = f"{np.mean([one.number('tokens') or 0 for one in rollouts]):.0f}"
            line[5] = f"{np.mean([one.is_truncated for one in rollouts]):.1%}"
        lines.append(line)
    return lines


def _problems(kept: Kept) -> dict[str, dict[int, list[Rollout]]]:
    """Problem -> step -> its answers there, at every step."""
    found: dict[str, dict[int, list[Rollout]]] = {}
    for step, rollouts in kept.items():
        for one in rollouts:
            by_step = found.setdefault(one.problem, {other: [] for other in kept})
            by_step[step].append(one)
    return found


def _groups(kept: Kept) -> dict[int, list[list[Rollout]]]:
    """Step -> its groups, which stand one after the other in the file."""
    found = {}
    for step, rollouts in kept.items():
        found[step] = [list(group) for _, group in groupby(rollouts, lambda one: one.group)]
    return found
