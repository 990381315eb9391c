"""Runs that learn nothing say so: what recipe, evaluations and metrics tell of it, the cause and
the remedy.

A warning is ``{"code", "text", "step"}``. What follows from the recipe is told before a rank starts
(``of_recipe``, step 0), the rest at the end of the step or evaluation that tells it (``watch``). A
symptom (``symptoms``) has to last: rollouts until they are ``ENOUGH`` answers, everything else of a
step for ``recipe.patience`` steps, or from the first to the last in a shorter run; one evaluation
is enough. At the end those count that still hold, or held most of the time (``warnings``): what was
mended on the way is no news. All is plain arithmetic on metrics that all ranks share, so that the
ranks agree, and the state is a JSON-able dict that a checkpoint keeps.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from red_mcore.algorithms.base import GroupAlgorithm
from red_mcore.config.recipe import Recipe
from red_mcore.system.exit_codes import UNHEALTHY
from red_mcore.train import forecast
from red_mcore.train.symptoms import Symptom, of_row

Finding = dict[str, Any]
"""A warning."""
_OF_STEPS = ("no_update", "no_trace", "wrong_traces", "truncated", "unparsable", "no_verdict")
"""Symptoms of steps; the others are of evaluations."""


def line(warning: Finding) -> str:
    """The warning as the screen shows it."""
    return f"red_mcore: warning: {warning['text']}"


def exit_code(recipe: Recipe, found: list[Finding]) -> int:
    """0, or what a strict run returns where something is ``found``."""
    if recipe.strict and found:
        return UNHEALTHY
    return 0


def of_recipe(recipe: Recipe) -> list[Finding]:
    """What a valid recipe tells by itself."""
    return [{"code": code, "text": text, "step": 0} for code, text in forecast.faults(recipe)]


def watch(
    recipe: Recipe,
    state: dict[str, Any],
    step: int,
    metrics: Mapping[str, float],
    algorithm: GroupAlgorithm | None = None,
    *,
    updated: bool = False,
    last: bool = False,
) -> list[Finding]:
    """The warnings that the row of ``step`` brings, each once in a run; ``state`` keeps what was
    seen so far.

    ``algorithm``: that of the step; None for a row of evaluations alone. ``updated``: whether an
    optimizer stepped. ``last``: no row follows.
    """
    found = []
    for symptom in of_row(recipe, metrics, algorithm, updated):
        seen = state.setdefault(symptom.code, _nothing_seen())
        _count(seen, symptom)
        lasts = seen["row"] >= symptom.patience or (last and seen["held"] == seen["seen"])
        if symptom.holds and lasts:
            seen["on"] = True
            if seen["step"] is None:
                seen["step"] = step
                found.append(_of_state(symptom.code, seen))
    return found


def warnings(recipe: Recipe, state: Mapping[str, Any]) -> list[Finding]:
    """Those of the recipe, and of what was seen those that hold now or held most of the time."""
    found = of_recipe(recipe)
    for code, seen in state.items():
        if seen["step"] is not None and (seen["on"] or 2 * seen["held"] > seen["seen"]):
            found.append(_of_state(code, seen))
    return found


def _nothing_seen() -> dict[str, Any]:
    """Rows that could tell of a symptom, that had it, and had it in turn up to now; whether, and
    since when, it is warned of; the sums of its numbers."""
    return {"seen": 0, "held": 0, "row": 0, "on": False, "step": None, "sums": {}}


def _count(seen: dict[str, Any], symptom: Symptom) -> None:
    """Add a row to what was seen."""
    seen["seen"] += 1
    if not symptom.holds:
        seen |= {"row": 0, "on": False}
        return
    seen["held"] += 1
    seen["row"] += 1
    for name, value in symptom.numbers.items():
        seen["sums"][name] = seen["sums"].get(name, 0.0) + value
    seen["text"] = symptom.text({name: x / seen["held"] for name, x in seen["sums"].items()})


def _of_state(code: str, seen: Mapping[str, Any]) -> Finding:
    rows = "evaluations"
    if code in _OF_STEPS:
        rows = "steps"
    text = f"in {seen['held']} of {seen['seen']} {rows} {seen['text']}"
    return {"code": code, "text": text, "step": seen["step"]}
