"""Reading of a finished run's report.json, for pages."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from potstill.errors import DataError
from potstill.integrity.sealed import read_sealed
from potstill.measure.confusion import Confusion, of_matrix
from potstill.report.curves import Curve
from potstill.report.row import Row
from potstill.report.schema import CONFUSION, COUNTS, EXPORTED, REPORT, check_shape
from potstill.report.text import short
from potstill.tasks.scoring import CLASSIFICATION, Scoring

NAME = "report.json"
EXPORTS = "export/exports.json"
REWRITE = "the same command with resume=true writes it"


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
        confusion: of the network `subject`, where there are classes.
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
    confusion: Confusion | None = None
    subject: str = ""
    curves: dict[str, Curve] = field(default_factory=dict)
    class_accuracy: dict[str, list[float | None]] = field(default_factory=dict)
    reliability: dict[str, dict[str, list[float | None]]] = field(default_factory=dict)
    examples: list[dict[str, Any]] = field(default_factory=list)
    charts: list[dict[str, Any]] = field(default_factory=list)
    config: dict[str, Any] = field(default_factory=dict)
    exports: list[dict[str, Any]] = field(default_factory=list)

    @property
    def num_tested(self) -> int:
        """How many test images the confusions count, 0 without them."""
        return self.confusion.num_images if self.confusion else 0

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
        return _run(Path(folder), read_sealed(path, fix=REWRITE))
    except (ValueError, TypeError, KeyError, AttributeError, OSError, RecursionError) as error:
        reason = short(f"{type(error).__name__}: {error}", 200)
        raise DataError(f"{path}: is not a report ({reason}). Fix: {REWRITE}") from error


def _run(folder: Path, record: dict[str, Any]) -> Run:
    check_shape(record, REPORT, "report")
    apart = {"folder", "rows", "curves", "exports", "scoring", "confusion"}
    known = {item.name for item in fields(Run)} - apart
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
    run = Run(
        folder,
        rows,
        scoring,
        confusion=_confusion(record.get("confusion")),
        curves=_curves(record.get("curves") or {}),
        exports=_exports(folder),
        **given,
    )
    _check_lengths(run)
    return run


def _confusion(found: Any) -> Confusion | None:
    """Return the counts; earlier reports have all (K, K) of them, a row for each true class."""
    if not found:
        return None
    if isinstance(found, list):
        check_shape(found, [COUNTS], "report.confusion")
        return of_matrix(found)
    check_shape(found, CONFUSION, "report.confusion")
    return Confusion(**found)


def _check_lengths(run: Run) -> None:
    """Raise ValueError unless everything that is by class, or by bin, has as many as the rest."""
    if (counts := run.confusion) is not None:
        by_class = (counts.support, counts.correct, run.class_names, *run.class_accuracy.values())
        pairs = (counts.true, counts.predicted, counts.images)
        if len({*map(len, by_class)}) > 1 or len({*map(len, pairs)}) > 1:
            raise ValueError("confusion, class_accuracy and class_names differ in length")
        if any(not 0 <= k < counts.num_classes for k in (*counts.true, *counts.predicted)):
            raise ValueError("confusion names a class that is not there")
        if min((*counts.support, *counts.correct, *counts.images, 0)) < 0:
            raise ValueError("confusion has counts below zero")
        if any(counts.support[k] < 1 for k in counts.true):
            raise ValueError("confusion has mistakes of a class without images")
    for bins in run.reliability.values():
        if len({len(bins[name]) for name in ("accuracy", "confidence", "count")}) != 1:
            raise ValueError("reliability has bins of different number")


def _data_uri(example: dict[str, Any]) -> str | None:
    texts = (value for value in example.values() if isinstance(value, str))
    return next((text for text in texts if text.startswith("data:")), None)


def _exports(folder: Path) -> list[dict[str, Any]]:
    path = folder / EXPORTS
    if not path.is_file():
        return []
    found = read_sealed(path, fix=REWRITE, before=list)
    exports = found if isinstance(found, list) else found["files"]
    check_shape(exports, [EXPORTED], EXPORTS)
    return list(exports)


def _curves(stored: dict[str, dict[str, list[list[float]]]]) -> dict[str, Curve]:
    """Return curves as `read_curve` does; JSON keeps each as its epochs and its values."""
    return {
        name: {
            metric: {
                int(epoch): value for epoch, value in zip(*pair, strict=True) if value is not None
            }
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
