"""Reading of a finished run's report.json, for pages."""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from potstill.errors import DataError
from potstill.report.curves import Curve
from potstill.report.row import Row
from potstill.tasks.scoring import CLASSIFICATION, Scoring

NAME = "report.json"
EXPORTS = "export/exports.json"


@dataclass(frozen=True)
class Run:
    """What report.json holds; a report of an earlier version lacks some of it.

    Attributes:
        folder: where it lies.
        rows: the table.
        machine: what it was measured on.
        scoring: what the scores of the rows are.
        meta: command, overrides, seed, data and whatever else was kept.
        class_names: K names, none where there are no classes.
        confusion: (K, K) counts of the network `subject`, a row for each true class.
        subject: the network that was looked at closely.
        curves: network -> metric -> epoch -> value.
        class_accuracy: network -> (K) accuracies, None for a class without an image.
        reliability: network -> `confidence`, `accuracy` and `count` by bin.
        examples: images on which `subject` and another network differ.
        charts: of true against predicted values; see `Chart`.
        config: the whole config, resolved.
        exports: a record for each file that `export=` wrote or that a format refused.
    """

    folder: Path
    rows: list[Row]
    scoring: Scoring = CLASSIFICATION
    machine: dict[str, Any] = field(default_factory=dict)
    meta: dict[str, Any] = field(default_factory=dict)
    class_names: list[str] = field(default_factory=list)
    confusion: list[list[int]] = field(default_factory=list)
    subject: str = ""
    curves: dict[str, Curve] = field(default_factory=dict)
    class_accuracy: dict[str, list[float | None]] = field(default_factory=dict)
    reliability: dict[str, dict[str, list[float | None]]] = field(default_factory=dict)
    examples: list[dict[str, Any]] = field(default_factory=list)
    charts: list[dict[str, Any]] = field(default_factory=list)
    config: dict[str, Any] = field(default_factory=dict)
    exports: list[dict[str, Any]] = field(default_factory=list)

    def row(self, name: str) -> Row | None:
        """Return the row of a network, where there is one."""
        return next((row for row in self.rows if row.name == name), None)

    @property
    def title(self) -> str:
        """What to call the run."""
        return str(self.meta.get("name") or self.folder.name)


def read_run(folder: Path | str) -> Run:
    """Return the run in `folder`.

    Raises:
        DataError: if it has no report, or a damaged one.
    """
    path = Path(folder) / NAME
    if not path.is_file():
        raise DataError(f"{folder}: no finished run ({NAME} is not there). Fix: a run's folder")
    try:
        return _run(Path(folder), json.loads(path.read_text(encoding="utf-8")))
    except (ValueError, TypeError, KeyError, AttributeError, OSError) as error:
        reason = f"{type(error).__name__}: {error}"
        raise DataError(
            f"{path}: is not a report ({reason}). Fix: the same command with resume=true writes it"
        ) from error


def _run(folder: Path, record: dict[str, Any]) -> Run:
    known = {item.name for item in fields(Run)} - {"folder", "rows", "curves", "exports", "scoring"}
    # Earlier reports were all of classification, and named no task.
    found = record.get("scoring")
    scoring = Scoring.from_json(found) if found else CLASSIFICATION
    names = {score.name for score in scoring.scores} | {scoring.val}
    rows = [Row.from_json(row, names) for row in record["rows"]]
    if not rows:
        raise ValueError("no row")
    given = {key: value for key, value in record.items() if key in known}
    given.setdefault("subject", "student")
    # Earlier reports had the image under another name: it is the one data URI of an example.
    given["examples"] = [
        {"image": _data_uri(example), **example} for example in record.get("examples") or ()
    ]
    curves = _curves(record.get("curves") or {})
    return Run(folder, rows, scoring, curves=curves, exports=_exports(folder), **given)


def _data_uri(example: dict[str, Any]) -> str | None:
    texts = (value for value in example.values() if isinstance(value, str))
    return next((text for text in texts if text.startswith("data:")), None)


def _exports(folder: Path) -> list[dict[str, Any]]:
    path = folder / EXPORTS
    return list(json.loads(path.read_text(encoding="utf-8"))) if path.is_file() else []


def _curves(stored: dict[str, dict[str, list[list[float]]]]) -> dict[str, Curve]:
    """Return curves as `read_curve` does; JSON keeps each as its epochs and its values."""
    return {
        name: {
            metric: {int(epoch): value for epoch, value in zip(*pair, strict=True)}
            for metric, pair in curve.items()
        }
        for name, curve in stored.items()
    }


def find_runs(folders: Iterable[Path | str]) -> list[Path]:
    """Return the folders of finished runs: each of `folders`, or the runs directly in it.

    Raises:
        DataError: if a folder neither is a finished run nor holds one.
    """
    found: dict[Path, None] = {}
    for folder in map(Path, folders):
        inside = [folder] if (folder / NAME).is_file() else runs_in(folder)
        if not inside:
            what = "no finished run" if folder.is_dir() else "no such folder"
            raise DataError(f"{folder}: {what}. Fix: a folder with a {NAME}, or with such folders")
        found |= dict.fromkeys(path.resolve() for path in inside)
    return list(found)


def runs_in(folder: Path) -> list[Path]:
    """Return the finished runs directly in a folder, 2 before 10."""
    return sorted((path.parent for path in folder.glob(f"*/{NAME}")), key=natural)


def natural(path: Path) -> tuple[bool, int, str]:
    """Sort numbers as numbers, before names."""
    number = path.name.isdecimal()
    return not number, int(path.name) if number else 0, path.name


def labels(folders: Sequence[Path]) -> list[str]:
    """Return the shortest ends of paths that tell them apart."""
    depth = 1
    while True:
        ends = ["/".join(path.parts[-depth:]) for path in folders]
        if len(set(ends)) == len(set(folders)) or depth > max(len(p.parts) for p in folders):
            return ends
        depth += 1
