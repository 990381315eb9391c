"""Numbers as figures and tables show them: smoothed, finite, in few characters."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

Values = Sequence[float] | np.ndarray


def running_mean(values: Values, window: int) -> np.ndarray:
    """Mean of the ``window`` values around each, of fewer at the ends; [n] as ``values``."""
    sums = np.concatenate([[0.0], np.cumsum(np.asarray(values, float))])
    places = np.arange(len(values))
    first = np.maximum(places - window // 2, 0)
    end = np.minimum(places + window // 2 + 1, len(values))
    return (sums[end] - sums[first]) / np.maximum(end - first, 1)


def short(number: float) -> str:
    """A count in few characters: 9.5, 950, 1.2k, 0.6M."""
    if abs(number) < 1000:
        return f"{number:.3g}"
    if abs(number) < 999_500:  # from here on it would be 1000k
        return f"{number / 1000:.3g}k"
    return f"{number / 1e6:.3g}M"


def reading(name: str, values: Values, form: str = "{:.3g}") -> str:
    """A line of a figure in words: where it begins and where it ends, of the values that are
    finite."""
    finite = finite_of(values)
    if not len(finite):
        return ""
    ends = dict.fromkeys([form.format(finite[0]), form.format(finite[-1])])
    return f"{name} {' → '.join(ends)}".strip()


def finite_of(values: Values) -> np.ndarray:
    found = np.asarray(values, float)
    return found[np.isfinite(found)]
