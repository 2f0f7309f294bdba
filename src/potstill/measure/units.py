"""Numbers in units people read: 0.27 M, 41.2 M, 1.09 MB, 12.3 ms, 1 h 5 min."""

import math
from collections.abc import Callable

MISSING = "-"
# From (at least, divide by): 0.27 M stands in one column with 11.2 M better than 270 k does.
PREFIXES = ((1e9, 1e9, "G"), (1e5, 1e6, "M"), (1e3, 1e3, "k"))


def scaled(value: float | None, unit: str = "") -> str:
    """Return `value` in three digits with k, M or G: 0.27 M, 41.2 M, 1.09 MB."""
    if value is None:
        return MISSING
    found = next((prefix for prefix in PREFIXES if value >= prefix[0]), None)
    if found is None:
        return f"{value:.0f} {unit}".rstrip()
    return f"{three_digits(value / found[1])} {found[2]}{unit}"


def three_digits(value: float) -> str:
    """Return `value` with two, one or no decimals, by its size."""
    decimals = 2 if value < 9.995 else 1 if value < 99.95 else 0
    return f"{value:.{decimals}f}"


def percent(value: float | None) -> str:
    """Return a fraction as a percentage."""
    return measured(value, lambda number: f"{100 * number:.2f} %")


def milliseconds(value: float | None) -> str:
    """Return milliseconds in three digits."""
    return measured(value, lambda number: f"{three_digits(number)} ms")


def duration(value: float | None) -> str:
    """Return seconds as seconds, minutes or hours."""
    if value is None or not math.isfinite(value):
        return MISSING
    seconds = round(value)
    if seconds < 60:
        return f"{value:.1f} s"
    minutes, rest = divmod(seconds, 60)
    return f"{minutes} min {rest} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


def measured(value: float | None, show: Callable[[float], str]) -> str:
    """Return `show(value)`, or a dash where there is no number."""
    return MISSING if value is None or not math.isfinite(value) else show(value)
