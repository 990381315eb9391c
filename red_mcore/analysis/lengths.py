"""From recorded responses to the papers' numbers: length by correctness, and the learnability gap."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from red_mcore.analysis.estimates import Estimate, mean
from red_mcore.analysis.recorded import Evaluation, Response
from red_mcore.config.recipe import RecipeError
from red_mcore.evaluation.statistics import paired_bootstrap

GROUPS = ("all", "correct", "incorrect")
RESAMPLES = 2000


def groups(responses: Sequence[Response]) -> dict[str, list[Response]]:
    """By correctness; incorrect are all that the verifier did not accept, whatever the verdict."""
    correct = [response for response in responses if response.is_correct]
    return {"all": list(responses), "correct": correct, "incorrect": [r for r in responses if not r.is_correct]}


@dataclass(frozen=True)
class Lengths:
    """Of a set of responses, in tokens or words."""

    mean: Estimate
    quartiles: tuple[float, float, float] | None
    """Lower, median, upper; None of no responses."""


def lengths(values: Sequence[float], problems: Sequence[tuple[str, int]]) -> Lengths:
    """``values`` [N] of responses to ``problems`` [N]."""
    low, middle, high = np.percentile(values, (25, 50, 75)) if len(values) else (math.nan,) * 3
    return Lengths(mean(values, problems), (float(low), float(middle), float(high)) if len(values) else None)


def longer_when_incorrect(responses: Sequence[Response], values: Sequence[float]) -> Estimate:
    """Mean over problems with both kinds of responses: mean length of the incorrect minus that of the correct ones.

    Hard problems have long responses and few correct ones; within a problem that plays no part.
    """
    by_problem: dict[tuple[str, int], tuple[list[float], list[float]]] = {}
    for response, value in zip(responses, values, strict=True):
        by_problem.setdefault(response.problem_id, ([], []))[response.is_correct].append(value)
    both = {name: np.mean(wrong) - np.mean(right) for name, (wrong, right) in by_problem.items() if wrong and right}
    return mean(list(both.values()), list(both))


@dataclass(frozen=True)
class Gap:
    """An accuracy difference in points (hundredths)."""

    mean: float
    stderr: float
    low: float
    high: float
    """Ends of the 95 % interval."""
    items: int


def learnability_gap(strong: Evaluation, weak: Evaluation, *, seed: int = 0) -> dict[str, Gap]:
    """D = P_strong - P_weak per benchmark, and ``average`` over benchmarks (arXiv 2502.12143).

    The same student after two distillations: on long traces (or a large teacher's) and on short (a small teacher's).
    Below zero it learns better from the simpler data. Errors by paired bootstrap over items, those of the average from
    the benchmarks' as independent. RecipeError where they do not share a benchmark, or its items.
    """
    one, other = strong.accuracies(), weak.accuracies()
    shared = [name for name in one if name in other]
    if not shared:
        raise RecipeError(
            f"--gap: {strong.name} and {weak.name} have no benchmark in common: {list(one)}, {list(other)}"
        )
    found = {}
    for name in shared:
        items = sorted(one[name])
        if items != sorted(other[name]):
            raise RecipeError(
                f"--gap: {strong.name} and {weak.name} have different items of {name}"
                f" ({len(items)} and {len(other[name])}): evaluate both on the same"
            )
        differences = np.array([100 * (one[name][item] - other[name][item]) for item in items])
        found[name] = Gap(*map(float, paired_bootstrap(differences, RESAMPLES, seed)), len(items))
    return {**found, "average": _average(found)}


def _average(gaps: Mapping[str, Gap]) -> Gap:
    centre = float(np.mean([gap.mean for gap in gaps.values()]))
    stderr = math.sqrt(sum(gap.stderr**2 for gap in gaps.values())) / len(gaps)
    return Gap(centre, stderr, centre - 1.96 * stderr, centre + 1.96 * stderr, sum(gap.items for gap in gaps.values()))
