"""Intervals of numbers in mathematical notation, whose bounds may be other settings."""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

_NOTATION = re.compile(r"(int |float |)([\[(])(\S+), (\S+)([\])])")
_TYPES: dict[str, tuple[type, ...]] = {"int ": (int,), "float ": (float,), "": (int, float)}
_WORDS = {"int ": "an integer, ", "float ": "a share ", "": ""}


@dataclass(frozen=True)
class Interval:
    """An interval such as `[0, 1)` or `int [1, inf)`: a round bracket leaves its bound out.

    Attributes:
        kind: "int ", "float " or "" for both.
        left: its bracket.
        low: a number, or the name of another setting.
        high: the same.
        right: its bracket.
    """

    kind: str
    left: str
    low: str
    high: str
    right: str

    @classmethod
    def parse(cls, text: object) -> "Interval | None":
        """Return the interval of a text; None where it is something else.

        >>> Interval.parse("[0, 1)")
        Interval(kind='', left='[', low='0', high='1', right=')')
        """
        found = _NOTATION.fullmatch(text) if isinstance(text, str) else None
        return cls(*found.groups()) if found is not None else None

    def holds(self, value: Any, values: Mapping[str, Any]) -> bool:
        """Return whether a number lies inside; `values` has the settings that are bounds.

        >>> Interval.parse("[1, m)").holds(2, {"m": 4})
        True
        """
        if type(value) not in _TYPES[self.kind]:
            return False
        low, high = _number(self.low, values), _number(self.high, values)
        is_above = low is None or (low < value if self.left == "(" else low <= value)
        is_below = high is None or (value < high if self.right == ")" else value <= high)
        return is_above and is_below

    def words(self, values: Mapping[str, Any]) -> str:
        """Return it for a message.

        >>> Interval.parse("(0, 1]").words({})
        'above 0 and at most 1'
        """
        low, high = _named(self.low, values), _named(self.high, values)
        lower = f"above {low}" if self.left == "(" else f"{low} or more"
        upper = f"below {high}" if self.right == ")" else f"at most {high}"
        words = f"{lower} and {upper}"
        if high == "inf":
            words = lower
        elif low == "-inf":
            words = upper
        elif (self.left, self.right) == ("[", "]"):
            words = f"from {low} to {high}"
        start = _WORDS[self.kind]
        return (start if words[0].isdigit() else start.replace(",", "")) + words

    def example(self, values: Mapping[str, Any]) -> str:
        """Return a number inside, as it is typed."""
        low, high = _number(self.low, values), _number(self.high, values)
        if low is not None and self.left == "[":
            return f"{low:g}"
        if high is not None and self.right == "]" and math.isfinite(high):
            return f"{high:g}"
        low = 0.0 if low is None else low
        return f"{low + 1:g}" if high is None or math.isinf(high) else f"{(low + high) / 2:g}"


def _number(text: str, values: Mapping[str, Any]) -> float | None:
    """Return a bound; None where the setting it names is not given as a number."""
    try:
        return float(text)
    except ValueError:
        found = values.get(text)
        return found if type(found) in (int, float) else None


def _named(text: str, values: Mapping[str, Any]) -> str:
    return f"{text} ({values[text]})" if text in values else text
