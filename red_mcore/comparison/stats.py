"""Means over seeds, their confidence intervals, and signs that hold in all seeds."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

_T_95 = (12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228)
"""97.5 % point of Student's t at 1, 2, ... degrees of freedom."""


def half_width(values: Sequence[float], stderrs: Sequence[float], *, over_seeds: bool) -> float:
    """Half of the 95 % confidence interval of the mean of ``values``, one for each seed.

    ``over_seeds``: Student's t on the values, whose spread holds that of the seeds and that of the samples. Otherwise,
    and for a single value, the normal interval from ``stderrs``, those of the values over problems; the seeds share the
    problems, so that more of them do not make it narrower.
    """
    count = len(values)
    if count < 2 or not over_seeds:
        return 1.96 * statistics.fmean(stderrs)
    t = _T_95[count - 2] if count - 1 <= len(_T_95) else 1.96 + 2.5 / (count - 1)  # within 1 %
    return t * statistics.stdev(values) / math.sqrt(count)


@dataclass(frozen=True)
class Gap:
    """One method minus another, seed by seed."""

    differences: tuple[float, ...]
    """Of the seeds that have both."""
    seeds: int
    """Seeds of the comparison."""

    @property
    def mean(self) -> float:
        return statistics.fmean(self.differences)

    @property
    def sign(self) -> int:
        """1 or -1 where all of two seeds or more have that sign; 0 otherwise, and where a seed is missing."""
        if self.seeds < 2 or len(self.differences) < self.seeds:
            return 0
        return all(d > 0 for d in self.differences) - all(d < 0 for d in self.differences)  # 0 with a NaN


def gap(one: dict[int, float], other: dict[int, float], seeds: int) -> Gap | None:
    """``one`` minus ``other``, each by seed; None where no seed has both."""
    common = [seed for seed in one if seed in other]
    return Gap(tuple(one[seed] - other[seed] for seed in common), seeds) if common else None
