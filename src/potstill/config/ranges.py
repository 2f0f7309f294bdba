"""Ranges of settings: intervals, choices and forms, as a class writes them beside itself.

    ranges: ClassVar[Ranges] = {
        "temperature": "(0, inf)",            # an interval, see `Interval`
        "n": "[1, m)",                        # a bound may be another setting
        "mode": ("max", "min"),               # one of these
        "devices": ("auto", -1, "[1, inf)"),  # intervals among them
        "randaugment": ["[1, inf)", "[0, 30]"],  # a list of two
        "student": "not empty",
        "max_epochs": ("not null", "int [1, inf)"),
        "max_time": "like 00:12:00:00",       # text of that form
    }

A rule holds for each item of a list. What is null, a mapping or an object is left to annotations.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from potstill.config.intervals import Interval
from potstill.errors import ConfigError

Rule = str | bool | tuple[str | int | bool, ...] | list[str]
Ranges = Mapping[str, Rule]
Values = Mapping[str, Any]

NOT_EMPTY = "not empty"
NOT_NULL = "not null"
_LIKE = "like "


def check_ranges(ranges: Ranges, values: Values, path: str = "") -> None:
    """Raise at the first value outside its range.

    Args:
        ranges: by the name of a setting.
        values: by name, those that are bounds of others among them.
        path: the key they are under.

    Raises:
        ConfigError: with the full key, and a value that would do.

    Example:
        >>> check_ranges({"macs": "(0, 1]"}, {"macs": 0.5})
        >>> check_ranges({"macs": "(0, 1]"}, {"macs": 2}, "stages.pruned")
        Traceback (most recent call last):
        ...
        potstill.errors.ConfigError: stages.pruned.macs=2: must be above 0 and at most 1. \
Fix: stages.pruned.macs=1
    """
    for name, rule in ranges.items():
        if name in values and not within(values[name], rule, values):
            key, wanted = f"{path}.{name}" if path else name, in_words(rule, values)
            fix = f"{key}={example(rule, values)}"
            raise ConfigError(f"{key}={as_typed(values[name])}: must be {wanted}. Fix: {fix}")


def within(value: Any, rule: Rule, values: Values) -> bool:
    """Return whether a value keeps to a rule; `values` has the bounds that are settings."""
    if isinstance(rule, list):
        is_full = isinstance(value, Sequence) and len(value) == len(rule)
        return value is None or (is_full and all(map(within, value, rule, [values] * len(rule))))
    if isinstance(value, list | tuple):
        is_full = len(value) > 0 or rule != NOT_EMPTY
        return is_full and all(within(item, rule, values) for item in value)
    if value is None or (isinstance(value, dict) and "_target_" in value):
        return True
    return any(_matches(value, option, values) for option in _options(rule))


def is_choice(value: Any, rule: Rule | None) -> bool:
    """Return whether a rule lists this very value, whatever else its parameter takes."""
    options = _options(rule) if rule is not None else ()
    return any(type(value) is type(one) and value == one for one in options)


def is_interval(rule: Rule) -> bool:
    """Return whether a rule is one interval."""
    return Interval.parse(rule) is not None


def is_bounded_by(rule: Rule | None, values: Values) -> bool:
    """Return whether a bound of a rule is another of these settings."""
    intervals = [Interval.parse(option) for option in _options(rule)]
    return any(one is not None and {one.low, one.high} & set(values) for one in intervals)


def excludes_null(rule: Rule) -> bool:
    """Return whether a rule refuses null, which annotations take."""
    return NOT_NULL in _options(rule)


def in_words(rule: Rule, values: Values) -> str:
    """Return a rule for a message.

    >>> in_words(("last", "best", "[1, inf)"), {})
    'last, best or 1 or more'
    """
    if isinstance(rule, list):
        return "a list of " + ", ".join(in_words(one, values) for one in rule)
    options = [option for option in _options(rule) if option != NOT_NULL]
    words = list(dict.fromkeys(_words(option, values) for option in options))
    return " or ".join(filter(None, [", ".join(words[:-1]), words[-1]]))


def example(rule: Rule, values: Values) -> str:
    """Return a value that keeps to a rule, as it is typed."""
    if isinstance(rule, list):
        return "[" + ",".join(example(one, values) for one in rule) + "]"
    first = next(option for option in _options(rule) if option != NOT_NULL)
    interval = Interval.parse(first)
    if interval is not None:
        return interval.example(values)
    return "NAME" if first == NOT_EMPTY else _text(first)


def shorten(value: Any) -> str:
    """Return `value` as text that leaves room in an error's line."""
    text = str(value)
    return text if len(text) <= 40 else f"{text[:37]}..."


def as_typed(value: Any) -> str:
    """Return a value as a command line has it, shortened.

    >>> as_typed([True, None, "a"])
    '[true,null,a]'
    """
    if value is None or isinstance(value, bool):
        return "null" if value is None else str(value).lower()
    if isinstance(value, list | tuple):
        return shorten("[" + ",".join(map(as_typed, value)) + "]")
    return shorten(value)


def _options(rule: Any) -> tuple[Any, ...]:
    return rule if isinstance(rule, tuple) else (rule,)


def _matches(value: Any, option: Any, values: Values) -> bool:
    interval = Interval.parse(option)
    if interval is not None:
        return interval.holds(value, values)
    if option == NOT_EMPTY:
        return bool(value != "")
    if isinstance(option, str) and option.startswith(_LIKE):
        if isinstance(value, dict):  # the same by its parts: {hours: 12}
            return True
        pattern = re.sub(r"\d", r"\\d", re.escape(option.removeprefix(_LIKE)))
        return isinstance(value, str) and re.fullmatch(pattern, value) is not None
    return type(value) is type(option) and bool(value == option)


def _words(option: Any, values: Values) -> str:
    interval = Interval.parse(option)
    return interval.words(values) if interval is not None else _text(option)


def _text(option: Any) -> str:
    return str(option).lower() if isinstance(option, bool) else str(option).removeprefix(_LIKE)
