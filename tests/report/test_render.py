"""Numbers as a page shows them, and that a template's value is text."""

import pytest

from potstill.report.render import points, times


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.5, "+0.50"), (-0.28, "\u22120.28"), (0.001, "0.00"), (-0.004, "0.00"), (None, "-")],
)
def test_points(value, text):
    assert points(value) == text


@pytest.mark.parametrize(
    ("value", "text"), [(95.9, "96\u00d7"), (9.94, "9.9\u00d7"), (0.25, "0.2\u00d7"), (None, "-")]
)
def test_times(value, text):
    assert times(value) == text
