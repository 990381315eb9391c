"""Numbers of the papers: length by correctness, and the learnability gap."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from red_mcore.analysis.recorded import Evaluation
from red_mcore.config.recipe import RecipeError
from red_mcore.samples.responses import Key, Response
from red_mcore.stats import NORMAL_95, Estimate, mean, paired_bootstrap

RESAMPLES = 2000


@dataclass(frozen=True)
class Lengths:
    """The lengths of a set of responses, in tokens or words."""

    mean: Estimate
    quartiles: tuple[float, float, float] | None
    """Lower, median, upper; None of no responses."""


def lengths(values: Sequence[float], problems: Sequence[Key]) -> Lengths:
    """``values`` [N] of responses to ``problems`` [N]."""
    if not len(values):
        return Lengths(mean(values, problems), None)
    low, middle, high = np.percentile(values, (25, 50, 75)).tolist()
    return Lengths(mean(values, problems), (low, middle, high))


def longer_when_incorrect(responses: Sequence[Response], values: Sequence[float]) -> Estimate:
    """Mean over problems with both kinds of responses: mean length of the incorrect minus that of
    the correct ones.

    Hard problems have long responses and few correct ones; within a problem that plays no part.
    """
    by_problem: dict[Key, tuple[list[float], list[float]]] = {}
    for response, value in zip(responses, values, strict=True):
        by_problem.setdefault(response.problem_id, ([], []))[response.is_correct].append(value)
    differences = {}
    for name, (wrong, right) in by_problem.items():
        if wrong and right:
            differences[name] = float(np.mean(wrong) - np.mean(right))
    return mean(list(differences.values()), list(differences))


@dataclass(frozen=True)
class LearnabilityGap:
    """An accuracy difference in points (hundredths)."""

    mean: float
    stderr: float
    low: float
    high: float
    """Ends of the 95 % interval."""
    items: int


def learnability_gap(
    strong: Evaluation, weak: Evaluation, *, seed: int = 0
) -> dict[str, LearnabilityGap]:
    """D = P_strong - P_weak per benchmark, and ``average`` over benchmarks (arXiv 2502.12143).

    The same student after two distillations: on long traces (or a large teacher's) and on short (a
    small teacher's). Below zero it learns better from the simpler data. Errors by paired bootstrap
    over items, those of the average from the benchmarks' as independent. RecipeError where they do
    not share a benchmark, or its items.
    """
    one, other = strong.accuracies(), weak.accuracies()
    pair = f"--gap: {strong.name} and {weak.name}"
    found = {}
    for name, accuracies in one.items():
        if name not in other:
            continue
        items = sorted(accuracies)
        if items != sorted(other[name]):
            counts = f"{len(items)} and {len(other[name])}"
            fix = "evaluate both on the same"
            raise RecipeError(f"{pair} have different items of {name} ({counts}): {fix}")
        differences = [100 * (accuracies[item] - other[name][item]) for item in items]
        found[name] = LearnabilityGap(*paired_bootstrap(differences, RESAMPLES, seed), len(items))
    if not found:
        raise RecipeError(f"{pair} have no benchmark in common: {list(one)}, {list(other)}")
    return {**found, "average": _average(found)}


def _average(gaps: Mapping[str, LearnabilityGap]) -> LearnabilityGap:
    """Benchmarks count alike, whatever their size."""
    centre = float(np.mean([gap.mean for gap in gaps.values()]))
    stderr = math.sqrt(sum(gap.stderr**2 for gap in gaps.values())) / len(gaps)
    half = NORMAL_95 * stderr
    items = sum(gap.items for gap in gaps.values())
    return LearnabilityGap(centre, stderr, centre - half, centre + half, items)
