"""Errors of accuracies. Problems are what is drawn at random: responses to one problem are no independent trials."""

from __future__ import annotations

import math
import statistics
from collections import Counter
from collections.abc import Sequence

import numpy as np


def pass_at_k(samples: int, correct: int, k: int) -> float:
    """Unbiased chance that one of ``k`` drawn samples is right: 1 - C(n-c, k) / C(n, k) (arXiv 2107.03374)."""
    if not 0 < k <= samples:
        raise ValueError(f"pass@{k} needs at least {k} samples, there are {samples}")
    return 1.0 - math.comb(samples - correct, k) / math.comb(samples, k)


def mean_and_error(values: Sequence[float]) -> tuple[float, float]:
    """Mean over problems and its standard error, s / sqrt(N) with ddof 1; NaN for the error of one value.

    With several samples per problem a value is the mean over them, so that the error holds both the choice of the
    problems and the sampling.
    """
    mean = statistics.fmean(values)
    return mean, statistics.stdev(values) / math.sqrt(len(values)) if len(values) > 1 else math.nan


def majority(answers: Sequence[str | None], correct: Sequence[bool]) -> float:
    """Chance that a vote for the most frequent answer is right, ties broken at random.

    ``answers``: normal texts, equal where the answers count as the same; None, no answer, has no vote. Where all are
    None the vote is wrong. A text whose samples were judged differently (by a timeout) is right in their proportion.
    """
    votes = Counter(answer for answer in answers if answer is not None)
    if not votes:
        return 0.0
    most = max(votes.values())
    shares = []
    for answer, count in votes.items():
        if count == most:
            right = sum(is_right for a, is_right in zip(answers, correct, strict=True) if a == answer)
            shares.append(right / count)
    return statistics.fmean(shares)


def paired_bootstrap(
    differences: Sequence[float], resamples: int = 10_000, seed: int = 0
) -> tuple[float, float, float, float]:
    """(mean, standard error, low, high) of the mean of [N] paired differences, the latter its 95 % interval.

    Problems are drawn with replacement, each with its difference between two models, so that how hard the problems are,
    which both share, cancels out.
    """
    values = np.asarray(differences, dtype=np.float64)
    generator = np.random.default_rng(seed)
    means = np.empty(resamples)
    rows = max(1, 2_000_000 // len(values))  # indices held at a time
    for first in range(0, resamples, rows):
        count = min(rows, resamples - first)
        means[first : first + count] = values[generator.integers(0, len(values), (count, len(values)))].mean(axis=1)
    low, high = np.quantile(means, [0.025, 0.975])
    return float(values.mean()), float(means.std(ddof=1)), float(low), float(high)
