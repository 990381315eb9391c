"""Numbers with their errors, where problems are drawn at random: responses to one problem are no
independent trials."""

from __future__ import annotations

import math
import statistics
from collections import Counter
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from itertools import compress

import numpy as np
from scipy.special import stdtrit

NORMAL_95 = 1.96
"""97.5 % point of the normal distribution."""


def pass_at_k(samples: int, correct: int, k: int) -> float:
    """Unbiased chance that one of ``k`` drawn samples is right: 1 - C(n-c, k) / C(n, k) (arXiv
    2107.03374).

    ValueError for fewer than ``k`` samples.
    """
    if not 0 < k <= samples:
        raise ValueError(f"pass@{k} needs at least {k} samples, there are {samples}")
    return 1.0 - math.comb(samples - correct, k) / math.comb(samples, k)


def mean_and_error(values: Sequence[float]) -> tuple[float, float]:
    """Mean over problems and its standard error, s / sqrt(N) with ddof 1; NaN for the error of one
    value.

    With several samples per problem a value is the mean over them, so that the error holds both the
    choice of the problems and the sampling.
    """
    mean = statistics.fmean(values)
    if len(values) < 2:
        return mean, math.nan
    return mean, statistics.stdev(values) / math.sqrt(len(values))


def majority(answers: Sequence[str | None], correct: Sequence[bool]) -> float:
    """Chance that a vote for the most frequent answer is right, ties broken at random.

    ``answers``: normal texts, equal where the answers count as the same; None, no answer, has no
    vote. Where all are None the vote is wrong. A text whose samples were judged differently (by a
    timeout) is right in their proportion.
    """
    votes, right = Counter(answers), Counter(compress(answers, correct))
    del votes[None]
    if not votes:
        return 0.0
    most = max(votes.values())
    winners = [answer for answer, count in votes.items() if count == most]
    return statistics.fmean(right[answer] / most for answer in winners)


def paired_bootstrap(
    differences: Sequence[float], resamples: int = 10_000, seed: int = 0
) -> tuple[float, float, float, float]:
    """(mean, standard error, low, high) of the mean of [N] paired differences, the latter its 95 %
    interval.

    Problems are drawn with replacement, each with its difference between two models, so that how
    hard the problems are, which both share, cancels out.
    """
    values = np.asarray(differences, dtype=np.float64)
    generator = np.random.default_rng(seed)
    means = np.empty(resamples)
    rows = max(1, 2_000_000 // len(values))  # indices held at a time
    for first in range(0, resamples, rows):
        count = min(rows, resamples - first)
        drawn = generator.integers(0, len(values), (count, len(values)))
        means[first : first + count] = values[drawn].mean(axis=1)
    low, high = np.quantile(means, [0.025, 0.975])
    return float(values.mean()), float(means.std(ddof=1)), float(low), float(high)


@dataclass(frozen=True)
class Estimate:
    """A mean, or a rate, with its standard error."""

    mean: float
    """NaN where nothing was observed."""
    stderr: float
    """NaN where all observations are of one problem."""
    n: float
    """Observations: responses, or the sum of the denominators."""
    problems: int

    @property
    def half(self) -> float:
        """Half of the 95 % interval (normal); 0 where no error is known, so that figures draw
        none."""
        if not math.isfinite(self.stderr):
            return 0.0
        return NORMAL_95 * self.stderr


def mean(values: Sequence[float] | np.ndarray, problems: Sequence[Hashable]) -> Estimate:
    """Mean of ``values`` [N], observed on ``problems`` [N]; equal ones are one cluster of the
    error."""
    return ratio(values, np.ones(len(values)), problems)


def ratio(
    numerators: Sequence[float] | np.ndarray,
    denominators: Sequence[float] | np.ndarray,
    problems: Sequence[Hashable],
) -> Estimate:
    """Sum of ``numerators`` [N] / sum of ``denominators`` [N], for example occurrences per word.

    The error is the ratio estimator's, by linearization, with problems as clusters (Cochran,
    Sampling Techniques, sections 6.3 and 9A): samples of one problem are no independent
    observations. For a mean with one response per problem it is the usual standard error.
    """
    top, bottom = np.asarray(numerators, float), np.asarray(denominators, float)
    total = float(bottom.sum())
    numbers: dict[Hashable, int] = {}
    clusters = []
    for problem in compress(problems, bottom > 0):  # without weight it tells nothing
        clusters.append(numbers.setdefault(problem, len(numbers)))
    count = len(numbers)
    if total <= 0:
        return Estimate(math.nan, math.nan, 0.0, 0)
    value = float(top.sum()) / total
    if count < 2:
        return Estimate(value, math.nan, total, count)
    residuals = (top - value * bottom)[bottom > 0]
    sums = np.bincount(clusters, weights=residuals)
    error = math.sqrt(count / (count - 1) * float((sums**2).sum())) / total
    return Estimate(value, error, total, count)


def half_width(values: Sequence[float], stderrs: Sequence[float], *, over_seeds: bool) -> float:
    """Half of the 95 % confidence interval of the mean of ``values``, one for each seed.

    ``over_seeds``: Student's t on the values, whose spread holds that of the seeds and that of the
    samples. Otherwise, and for a single value, the normal interval from ``stderrs``, those of the
    values over problems; the seeds share the problems, so that more of them do not make it
    narrower.
    """
    count = len(values)
    if count < 2 or not over_seeds:
        return NORMAL_95 * statistics.fmean(stderrs)
    student = float(stdtrit(count - 1, 0.975))  # the quantile of Student's t
    return student * statistics.stdev(values) / math.sqrt(count)


@dataclass(frozen=True)
class Gap:
    """One method minus another, seed by seed."""

    differences: tuple[float, ...]
    """Of the seeds that have both."""
    seeds: int
    """Seeds of the comparison."""

    @property
    def mean(self) -> float:
        """Mean over the seeds that have both."""
        return statistics.fmean(self.differences)

    @property
    def sign(self) -> int:
        """1 or -1 where all of two seeds or more have that sign; 0 otherwise, and where a seed is
        missing."""
        if self.seeds < 2 or len(self.differences) < self.seeds:
            return 0
        differences = np.array(self.differences)
        return int((differences > 0).all()) - int((differences < 0).all())  # 0 with a NaN


def gap(one: dict[int, float], other: dict[int, float], seeds: int) -> Gap | None:
    """``one`` minus ``other``, each by seed; None where no seed has both."""
    differences = tuple(one[seed] - other[seed] for seed in one if seed in other)
    return Gap(differences, seeds) if differences else None
