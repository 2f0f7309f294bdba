"""Pages of finished runs: `potstill report DIR...` writes one and prints its path."""

import argparse
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NoReturn

from jinja2 import UndefinedError

from potstill.errors import ConfigError, DataError, PotstillError
from potstill.report.compare import write_comparison
from potstill.report.page import NAME, write_page
from potstill.report.read import NAME as RECORD
from potstill.report.read import find_runs
from potstill.report.sweep import write_sweep

TEXT = """Write the page of one run again, compare several, or show a whole sweep.

A folder is that of a finished run (it holds report.json), or holds such folders."""


def main(argv: Sequence[str] | None = None) -> int:
    """Write the page that `argv` names, and return the exit code."""
    try:
        arguments = _parser().parse_args(argv)
        with _drawing(arguments.folders):
            page = _write(arguments.folders, arguments.out)
        print(_short(page))
    except PotstillError as error:
        print("error:", " ".join(str(error).split()), file=sys.stderr)
        return error.exit_code
    return 0


def _write(folders: Sequence[Path], out: Path | None) -> Path:
    runs = find_runs(folders)
    if len(folders) == 1 and (folders[0] / "multirun.yaml").is_file():
        return write_sweep(folders[0], out)
    if len(runs) == 1:
        return write_page(runs[0], out)
    return write_comparison(runs, out or Path(os.path.commonpath(runs)) / NAME)


@contextmanager
def _drawing(folders: Sequence[Path]) -> Iterator[None]:
    """Make one line of what a report brings up that has the right shapes and senseless values."""
    try:
        yield
    except (ArithmeticError, LookupError, TypeError, ValueError, UndefinedError) as error:
        if isinstance(error, PotstillError):
            raise
        reason = f"{type(error).__name__}: {error}"
        raise DataError(
            f"{', '.join(map(str, folders))}: no page can be drawn of its {RECORD} ({reason}). "
            "Fix: the same command with resume=true writes it again"
        ) from error


def _short(path: Path) -> Path:
    path = path.resolve()
    return path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="potstill report",
        description=TEXT,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("folders", metavar="DIR", nargs="+", type=Path)
    parser.add_argument(
        "--out", metavar="FILE", type=Path, help="the page; else report.html in the common folder"
    )

    def refuse(message: str) -> NoReturn:
        raise ConfigError(f"{message}. Fix: potstill report DIR... [--out FILE]")

    parser.error = refuse  # type: ignore[method-assign]
    return parser
