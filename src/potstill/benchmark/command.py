"""Tables of files side by side: `potstill measure FILE...`."""

import argparse
import json
import logging
import os
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from potstill.atomic import write_atomically
from potstill.benchmark.arguments import SEVERITY, parse
from potstill.errors import PotstillError

if TYPE_CHECKING:
    from potstill.benchmark.measure_files import Settings
    from potstill.benchmark.tables import Measured


def main(argv: Sequence[str] | None = None) -> int:
    """Measure the files that `argv` names, print tables, and return the exit code."""
    try:
        _measure(parse(argv))
    except PotstillError as error:
        print("error:", " ".join(str(error).split()), file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        print("error: interrupted", file=sys.stderr)
        return 130
    return 0


def _measure(given: argparse.Namespace) -> None:
    from potstill.benchmark.measure_files import Settings, measure_files
    from potstill.libraries import quiet
    from potstill.measure.host import machine

    quiet()
    logging.basicConfig(format="%(message)s", level=logging.WARNING)
    settings = Settings(
        threads=given.threads,
        batches=given.batch,
        rounds=given.rounds,
        data=given.data,
        task=given.task or "classification",
        overrides=tuple(given.set),
        config_dir=given.config_dir,
        severity=(given.severity or SEVERITY) if given.robust else None,
        teacher=given.teacher,
        engines=given.engines or ("eager",),
    )
    before = _load()
    with tempfile.TemporaryDirectory() as folder:
        rows = measure_files(given.files, settings, Path(folder))
    host = machine() | {"load": [before, _load()] if before is not None else None}
    _show(rows, settings, host)
    if given.json is not None:
        write_atomically(given.json, json.dumps(_record(rows, settings, host), indent=2) + "\n")


def _show(rows: "Sequence[Measured]", settings: "Settings", host: dict[str, Any]) -> None:
    from rich.console import Console

    from potstill.benchmark import tables

    shown = [tables.cost_table(rows)]
    shown += [tables.score_table(rows)] if settings.data else []
    shown += [tables.corruption_table(rows)] if settings.severity else []
    shown += tables.latency_tables(rows)
    console = Console()
    for table in shown:
        console.print(table)
    console.print(tables.host_line(host), soft_wrap=True, highlight=False, markup=False)


def _record(
    rows: "Sequence[Measured]", settings: "Settings", host: dict[str, Any]
) -> dict[str, Any]:
    from potstill.benchmark.corruptions import library_version

    return {
        "machine": host,
        "data": settings.data,
        "settings": list(settings.overrides),
        "teacher": str(settings.teacher) if settings.teacher else None,
        "severity": settings.severity,
        "corruptions": library_version() if settings.severity else None,
        "rows": [row.to_json() for row in rows],
    }


def _load() -> float | None:
    return os.getloadavg()[0] if hasattr(os, "getloadavg") else None
