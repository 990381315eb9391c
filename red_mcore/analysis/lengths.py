"""Numbers of the papers: length by correctness, and the learnability gap."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeVar

import numpy as np

from red_mcore.analysis.recorded import Evaluation
from red_mcore.config.recipe import RecipeError
from red_mcore.samples.responses import Response
from red_mcore.stats import Estimate, mean, paired_bootstrap

GROUPS = ("all", "correct", "incorrect")
RESAMPLES = 2000


class Graded(Protocol):
    """A response, or something that belongs to one."""

    @property
    def is_correct(self) -> bool: ...


T = TypeVar("T", bound=Graded)


def groups(items: Sequence[T]) -> dict[str, list[T]]:
    """The items by correctness; incorrect are all that the verifier did not accept, whatever the
    verdict."""
    correct = [item for item in items if item.is_correct]
    incorrect = [item for item in items if not item.is_correct]
    return dict(zip(GROUPS, (list(items), correct, incorrect), strict=True))


@dataclass(frozen=True)
class Lengths:
    """The lengths of a set of responses, in tokens or words."""

    mean: Estimate
    quartiles: tuple[float, float, float] | None
    """Lower, median, upper; None of no responses."""


def lengths(values: Sequence[float], problems: Sequence[tuple[str, int]]) -> Lengths:
    """``values`` [N] of responses to ``problems`` [N]."""
    if not len(values):
        return Lengths(mean(values, problems), None)
    low, middle, high = np.percentile(values, (25, 50, 75))
    return Lengths(mean(values, problems), (float(low), float(middle), float(high)))


def longer_when_incorrect(responses: Sequence[Response], values: Sequence[float]) -> Estimate:
    """Mean over problems with both kinds of responses: mean length of the incorrect minus that of
    the correct ones.

    Hard problems have long responses and few correct ones; within a problem that plays no part.
    """
    by_problem: dict[tuple[str, int], tuple[list[float], list[float]]] = {}
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
    shared = [name for name in one if name in other]
    pair = f"--gap: {strong.name} and {weak.name}"
    if not shared:
        raise RecipeError(f"{pair} have no benchmark in common: {list(one)}, {list(other)}")
    found = {}
    for name in shared:
        items = sorted(one[name])
        if items != sorted(other[name]):
            counts = f"{len(items)} and {len(other[name])}"
            fix = "evaluate both on the same"
            raise RecipeError(f"{pair} have different items of {name} ({counts}): {fix}")
        differences = [100 * (one[name][item] - other[name][item]) for item in items]
        found[name] = LearnabilityGap(*paired_bootstrap(differences, RESAMPLES, seed), len(items))
    return {**found, "average": _average(found)}


def _average(gaps: Mapping[str, LearnabilityGap]) -> LearnabilityGap:
    centre = float(np.mean([gap.mean for gap in gaps.values()]))
    stderr = math.sqrt(sum(gap.stderr**2 for gap in gaps.values())) / len(gaps)
    items = sum(gap.items for gap in gaps.values())
    return LearnabilityGap(centre, stderr, centre - 1.96 * stderr, centre + 1.96 * stderr, items)
