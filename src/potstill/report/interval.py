"""Confidence intervals of 95 % of a fraction and of a mean."""

import math
from collections.abc import Sequence
from statistics import fmean, stdev
from typing import NamedTuple

from scipy.stats import binomtest, t


class Mean(NamedTuple):
    """A mean of `seeds` values and half the width of its 95 % interval, None for one value."""

    mean: float
    half: float | None
    seeds: int


def fraction_interval(fraction: float, count: int) -> tuple[float, float]:
    """Return the 95 % interval of an accuracy on `count` images (Wilson 1927).

    Example:
        >>> low, high = fraction_interval(0.5, count=100)
        >>> f"{low:.4f} {high:.4f}"
        '0.4038 0.5962'
    """
    found = binomtest(round(fraction * count), count).proportion_ci(method="wilson")
    return float(found.low), float(found.high)


def mean_interval(values: Sequence[float]) -> Mean:
    """Return the mean over seeds with Student's t interval.

    Example:
        >>> found = mean_interval([1.0, 2.0, 3.0])
        >>> f"{found.mean:.2f} ± {found.half:.2f} over {found.seeds} seeds"
        '2.00 ± 2.48 over 3 seeds'
    """
    count = len(values)
    if count < 2:
        return Mean(fmean(values), None, count)
    half = float(t.ppf(0.975, count - 1)) * stdev(values) / math.sqrt(count)
    return Mean(fmean(values), half, count)
