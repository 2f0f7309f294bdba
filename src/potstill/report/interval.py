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
    """Return the 95 % interval of an accuracy on `count` images (Wilson 1927)."""
    found = binomtest(round(fraction * count), count).proportion_ci(method="wilson")
    return float(found.low), float(found.high)


def mean_interval(values: Sequence[float]) -> Mean:
    """Return the mean over seeds with Student's t interval."""
    count = len(values)
    if count < 2:
        return Mean(fmean(values), None, count)
    half = float(t.ppf(0.975, count - 1)) * stdev(values) / math.sqrt(count)
    return Mean(fmean(values), half, count)
