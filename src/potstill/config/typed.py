"""Settings of the command line: what a person typed is trusted, what a file says is not."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override, ValueType

from potstill.config.kinds import children

Keys = tuple[str, ...]


@dataclass(frozen=True)
class Typed:
    """The values that a command line gives, by the keys that lead to them."""

    values: Mapping[Keys, frozenset[str]]

    def names(self, keys: Keys, value: Any) -> bool:
        """Return whether the command line gives this value to this key.

        Args:
            keys: that lead to it from the config's root.
            value: as composed, before it is resolved. A text must be the one that was typed: a
                sweep's values in a file may have come after it.
        """
        given = self.values.get(keys)
        return given is not None and (not isinstance(value, str) or value in given)

    @property
    def texts(self) -> frozenset[str]:
        """All values, as text."""
        return frozenset().union(*self.values.values())


@cache
def typed_in(overrides: tuple[str, ...]) -> Typed:
    """Return what valid overrides give; an option of a group is a file: its content is not typed.

    >>> given = typed_in(("+logger.a={b: x}", "name=c,d")).values
    >>> sorted(given), sorted(given[("name",)])
    ([('logger', 'a', 'b'), ('name',)], ['c', 'd'])
    """
    found: dict[Keys, frozenset[str]] = {}
    for override in _single_valued(overrides):
        if override.package is None and not override.is_delete():
            for keys, value in leaves(override.value(), split(override.key_or_group)):
                found[keys] = found.get(keys, frozenset()) | {str(value)}
    return Typed(found)


def leaves(value: Any, keys: Keys = ()) -> Iterator[tuple[Keys, Any]]:
    """Yield (keys, value) of all in a plain config that is no mapping and no list."""
    if not isinstance(value, dict | list):
        yield keys, value
    for key, inner in children(value):
        yield from leaves(inner, (*keys, str(key)))


def split(key: str) -> Keys:
    """Return the parts of a dotted key.

    >>> split("module.heads[0].weight")
    ('module', 'heads', '0', 'weight')
    """
    return tuple(filter(None, key.replace("[", ".").replace("]", "").split(".")))


def _single_valued(overrides: tuple[str, ...]) -> Iterator[Override]:
    """Yield overrides, each of a sweep's values as one of its own."""
    for override in OverridesParser.create().parse_overrides(list(overrides)):
        if not override.is_sweep_override():
            yield override
        elif override.is_discrete_sweep() and override.value_type != ValueType.GLOB_CHOICE_SWEEP:
            key = override.get_key_element()
            lines = (f"{key}={value}" for value in override.sweep_string_iterator())
            yield from _single_valued(tuple(lines))
