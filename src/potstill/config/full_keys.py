"""Errors of a call that know their argument alone, with the full key of a config in its place."""

import re
from collections.abc import Collection

from potstill.errors import ConfigError

_KEY = re.compile(r"\w+(?=[=:,])")
_FULL = re.compile(r"(\w+\.)+[\w*]+\b")


def with_full_key(error: Exception, path: str, names: Collection[str]) -> ConfigError:
    """Return the error of a class or function as one of the config's.

    Args:
        error: `key=value: what is wrong. Fix: key=...`, or any text.
        path: where the class stands in the config.
        names: its parameters.

    >>> with_full_key(ValueError("floor=2: too much. Fix: floor=0.1"), "stages.a", ["floor"])
    ConfigError('stages.a.floor=2: too much. Fix: stages.a.floor=0.1')
    >>> with_full_key(ConfigError("data.views=1: too few. Fix: 2"), "module.heads.x", [])
    ConfigError('data.views=1: too few. Fix: 2')
    """
    text = str(error)
    key = _KEY.match(text)
    if key is not None and key[0] in names:
        given, mark, fix = text.partition(". Fix: ")
        listed = "|".join(map(re.escape, names))
        fix = re.sub(rf"(?<![\w.@])({listed})(?==)", rf"{path}.\1", fix)
        return ConfigError(f"{path}.{given}{mark}{fix}")
    if isinstance(error, ConfigError) and _FULL.match(text):
        return error
    fix = "" if "Fix: " in text else f". Fix: what is under {path}"
    return ConfigError(f"{path}: {text.removesuffix('.')}{fix}")
