"""Rendering of values to one self-contained HTML file."""

import os
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import quote

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from potstill import __version__
from potstill.atomic import write_atomically
from potstill.measure.units import MISSING, duration, milliseconds, percent, scaled
from potstill.report.text import named, short

MINUS, TIMES = "\N{MINUS SIGN}", "\N{MULTIPLICATION SIGN}"


def render(path: Path, template: str, **values: Any) -> Path:
    """Write a page; all values are escaped.

    Raises:
        StorageError: where `path` cannot be written.
    """
    page = _environment().get_template(template).render(version=__version__, **values)
    # Half a pair, which JSON can hold, is no character of any file.
    return write_atomically(path, page.encode(errors="backslashreplace"))


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "named": named,
        "short": short,
        "address": address,
        "percent": percent,
        "points": points,
        "times": times,
        "scaled": scaled,
        "milliseconds": milliseconds,
        "duration": duration,
    }
    return environment


def address(folder: Path, name: str) -> str:
    """Return the relative address of a file in a folder beside the page, never a scheme's.

    >>> address(Path("sweep/javascript:x"), "report.html")
    './javascript%3Ax/report.html'
    """
    return f"./{quote(os.fsencode(folder.name))}/{name}"


def points(value: float | None, decimals: int = 2) -> str:
    """Return a difference with its sign."""
    if value is None:
        return MISSING
    if not round(value, decimals):
        return f"{0:.{decimals}f}"
    return f"{value:+.{decimals}f}".replace("-", MINUS)


def times(value: float | None) -> str:
    """Return how many times smaller something is: 12×, 3.4×."""
    if value is None:
        return MISSING
    return f"{value:.0f}{TIMES}" if value >= 9.95 else f"{value:.1f}{TIMES}"
