"""Quoting of overrides: any text as Hydra and a shell take it."""

import re
import shlex
from pathlib import Path

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Quote, QuotedString
from hydra.errors import HydraException

_BARE = re.compile(r"[A-Za-z0-9_/.+%*@?|-]+")


def override(key: str, text: str) -> str:
    """Return the override that gives `key` this very text, whatever is in it.

    >>> print(override("data.root", "/data/lr=0.1, 2"), override("data.root", "/data"))
    data.root="/data/lr=0.1, 2" data.root=/data
    """
    return f"{key}={text if _BARE.fullmatch(text) else quoted(text)}"


def quoted(text: str) -> str:
    r"""Return a text as Hydra takes it at any place of a value.

    >>> print(quoted('5" by ü'))
    "5\" by ü"
    """
    literal = text.replace("${", r"\${")  # or it would name another setting
    return QuotedString(text=literal, quote=Quote.double).with_quotes()


def in_shell(key: str, text: str) -> str:
    """Return `override` as it is typed in a shell; a home folder by its full name.

    >>> print(in_shell("hydra.run.dir", "out/lr=0.1"))
    'hydra.run.dir="out/lr=0.1"'
    """
    home = str(Path(text).expanduser()) if text.startswith("~/") else text
    return shlex.quote(override(key, home))


def suggested(line: str) -> str | None:
    """Return how an override that Hydra does not understand is typed, if its value is text.

    >>> print(suggested("data.root=/data/ü"))
    'data.root="/data/ü"'
    """
    key, equals, text = line.partition("=")
    try:
        OverridesParser.create().parse_overrides([f"{key}=x"])
    except HydraException:
        return None
    return in_shell(key, text) if equals else None
