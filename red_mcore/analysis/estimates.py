"""Means and rates over responses, with errors that know which responses answer the same problem."""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence
from dataclasses import asdict, dataclass

import numpy as np


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
        """Half of the 95 % interval (normal); 0 where no error is known, so that figures draw none."""
        return 1.96 * self.stderr if math.isfinite(self.stderr) else 0.0

    def as_json(self) -> dict[str, float | None]:
        return {key: value if math.isfinite(value) else None for key, value in asdict(self).items()}


def mean(values: Sequence[float] | np.ndarray, problems: Sequence[Hashable]) -> Estimate:
    """Mean of ``values`` [N], observed on ``problems`` [N]; equal ones are one cluster of the error."""
    return ratio(values, np.ones(len(values)), problems)


def ratio(
    numerators: Sequence[float] | np.ndarray, denominators: Sequence[float] | np.ndarray, problems: Sequence[Hashable]
) -> Estimate:
    """Sum of ``numerators`` [N] / sum of ``denominators`` [N], for example occurrences per word.

    The error is the ratio estimator's, by linearization, with problems as clusters (Cochran, Sampling Techniques,
    sections 6.3 and 9A): samples of one problem are no independent observations. For a mean with one response per
    problem it is the usual standard error.
    """
    top, bottom = np.asarray(numerators, float), np.asarray(denominators, float)
    total = float(bottom.sum())
    names = [name for name, weight in zip(problems, bottom, strict=True) if weight > 0]
    number = {name: i for i, name in enumerate(dict.fromkeys(names))}
    count = len(number)
    if total <= 0:
        return Estimate(math.nan, math.nan, 0.0, 0)
    value = float(top.sum()) / total
    if count < 2:
        return Estimate(value, math.nan, total, count)
    inside = bottom > 0
    residuals = (top - value * bottom)[inside]
    sums = np.bincount([number[name] for name in names], weights=residuals, minlength=count)
    return Estimate(value, math.sqrt(count / (count - 1) * float((sums**2).sum())) / total, total, count)
