"""Intervals against numbers from tables and from published examples."""

import math

import pytest

from potstill.report.interval import fraction_interval, mean_interval


def test_wilson_by_its_formula():
    p, n, z = 0.95, 360, 1.959963984540054
    middle = (p + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    assert fraction_interval(p, n) == pytest.approx((middle - half, middle + half))


def test_all_right_is_not_certain():
    low, high = fraction_interval(1.0, 360)
    assert low == pytest.approx(360 / (360 + 1.959963984540054**2))
    assert high == pytest.approx(1.0)


def test_students_t_for_three_seeds():
    found = mean_interval([90.0, 91.0, 92.0])
    assert (found.mean, found.seeds) == (91.0, 3)
    assert found.half == pytest.approx(4.302652730 * 1 / math.sqrt(3))  # t table, 2 degrees


def test_one_seed_has_no_interval():
    assert mean_interval([90.0]) == (90.0, None, 1)
