"""Values of a call's arguments against its annotations and ranges, before anything is imported."""

import ast
from collections.abc import Mapping
from typing import Any

from potstill.config.annotations import fits, in_words
from potstill.config.introspect import Definition
from potstill.config.ranges import (
    NOT_EMPTY,
    Rule,
    Values,
    as_typed,
    example,
    excludes_null,
    is_bounded_by,
    is_choice,
    is_interval,
    within,
)
from potstill.config.ranges import in_words as range_in_words
from potstill.config.rules import ranges_of
from potstill.config.signatures import Parameter, signature
from potstill.errors import ConfigError

# Tried in order, for the fix of a message.
_CANDIDATES: tuple[Any, ...] = (1, 1.0, True, "NAME", None, ["NAME"], [1.0], {})


def check_arguments(values: Values, path: str, definition: Definition) -> None:
    """Raise at the first argument that is not what `definition` says of it.

    Args:
        values: plain, by keyword; others than it names are passed over.
        path: the key they are under.
        definition: of the class or function.

    Raises:
        ConfigError: with the full key, what would do, and an example.
    """
    takes, ranges = signature(definition), ranges_of(definition)
    parameters: Mapping[str, Parameter] = takes.parameters if takes is not None else {}
    # A bound before what it bounds.
    for name in sorted(values, key=lambda name: is_bounded_by(ranges.get(name), values)):
        value = values[name]
        parameter, rule = parameters.get(name), ranges.get(name)
        if not _is_right(value, parameter, rule, values):
            key = f"{path}.{name}" if path else str(name)
            text = f"{key}={as_typed(value)}: must be {_wanted(parameter, rule, values)}. Fix: "
            raise ConfigError(f"{text}{_fix(key, parameter, rule, values)}")


def _is_right(value: Any, parameter: Parameter | None, rule: Rule | None, values: Values) -> bool:
    if is_choice(value, rule):
        return True
    if parameter is not None and parameter.annotation is not None:
        is_default = value is None and _default(parameter) == [None]
        if not is_default and not fits(value, parameter.annotation, parameter.source):
            return False
    if value is None:
        return rule is None or not excludes_null(rule)
    return rule is None or within(value, rule, values)


def _wanted(parameter: Parameter | None, rule: Rule | None, values: Values) -> str:
    """Return what an argument must be in words: `an integer, 1 or more`."""
    plain, objects = "", ""
    if parameter is not None and parameter.annotation is not None:
        plain, objects = in_words(parameter.annotation, parameter.source)
    if rule is not None:
        plain = _with_range(plain, rule, values)
    objects = f"{objects} (by _target_)" if objects else ""
    return " or ".join(filter(None, [plain, objects])) or "something else"


def _with_range(plain: str, rule: Rule, values: Values) -> str:
    words = range_in_words(rule, values)
    if not is_interval(rule) and rule != NOT_EMPTY:
        is_null = plain.startswith("null") and not excludes_null(rule)
        return f"null or {words}" if is_null else words
    plain = "a number" if plain in ("", "anything") else plain
    comma = "" if words.startswith(("above", "below", "from", "at most")) else ","
    return f"{plain}{comma} {words}"


def _fix(key: str, parameter: Parameter | None, rule: Rule | None, values: Values) -> str:
    """Return a setting that would do: its default, else one that fits."""
    defaults = [one for one in (_default(parameter) if parameter else []) if one is not None]
    for value in (*defaults, *_CANDIDATES):
        if _is_right(value, parameter, rule, values) and value not in ({}, ["NAME"]):
            return f"{key}={as_typed(value)}"
    return f"{key}={example(rule, values)}" if rule is not None else f"an option of {key}"


def _default(parameter: Parameter) -> list[Any]:
    """Return the default as a config holds it, in a list; empty where it is none or no literal."""
    try:
        value = ast.literal_eval(parameter.default) if parameter.default is not None else ...
    except ValueError:
        return []
    return [] if value is ... else [list(value) if isinstance(value, tuple) else value]
