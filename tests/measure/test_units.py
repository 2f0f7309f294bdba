"""Numbers in units against texts written out."""

import pytest

from potstill.measure.units import duration, milliseconds, percent, scaled


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0"),
        (330, "330"),
        (2008, "2.01 k"),
        (99_999, "100 k"),
        (271_000, "0.27 M"),
        (1_094_999, "1.09 M"),
        (9_996_000, "10.0 M"),
        (41_200_000, "41.2 M"),
        (555_000_000, "555 M"),
        (4_090_000_000, "4.09 G"),
        (None, "-"),
    ],
)
def test_counts_have_three_digits_and_a_prefix(value, text):
    assert scaled(value) == text


def test_bytes_have_their_unit():
    assert scaled(1_090_000, "B") == "1.09 MB"
    assert scaled(312, "B") == "312 B"


@pytest.mark.parametrize(
    ("show", "value", "text"),
    [
        (percent, 0.98611, "98.61 %"),
        (percent, 1, "100.00 %"),
        (percent, float("nan"), "-"),
        (milliseconds, 0.8349, "0.83 ms"),
        (milliseconds, 12.34, "12.3 ms"),
        (milliseconds, 1234.5, "1234 ms"),
        (milliseconds, None, "-"),
        (duration, 2.86, "2.9 s"),
        (duration, 59.7, "1 min 0 s"),
        (duration, 76, "1 min 16 s"),
        (duration, 7380, "2 h 3 min"),
    ],
)
def test_units(show, value, text):
    assert show(value) == text
