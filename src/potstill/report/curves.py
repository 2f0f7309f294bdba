"""Curves of one value an epoch, read from the sparse rows of Lightning's CSVLogger."""

import csv
import io
import math
from collections import defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path

from potstill.atomic import write_atomically

Curve = dict[str, dict[int, float]]
"""Metric name -> epoch (from 1) -> mean over the epoch."""


def merge_metrics(paths: Sequence[Path | str], out: Path | str) -> Path:
    """Write the metrics.csv of several attempts at one run as one file, a row for each step.

    `paths` are in the order of the attempts: where two logged the same metric at the same
    step the later one counts. An attempt that ended before its first line has no file, and
    none is needed.
    """
    merged: dict[int, dict[str, str]] = defaultdict(dict)
    for row in _rows(paths):
        merged[int(float(row["step"]))].update(row)
    columns = dict.fromkeys(["epoch", "step", *(name for row in merged.values() for name in row)])
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, list(columns), restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows(merged[step] for step in sorted(merged))
    return write_atomically(Path(out), text.getvalue())


def read_curve(paths: Path | str | Sequence[Path | str]) -> Curve:
    """Return every metric of one run by epoch, counted from 1 as in "after epoch 1"."""
    paths = [paths] if isinstance(paths, Path | str) else paths
    by_step: dict[str, dict[int, tuple[int, float]]] = defaultdict(dict)
    for row in _rows(paths):
        if "epoch" not in row:
            continue
        for name in row.keys() - {"epoch", "step"}:
            by_step[name][int(float(row["step"]))] = (int(float(row["epoch"])), float(row[name]))
    return {name: _mean_by_epoch(by_step[name].values()) for name in sorted(by_step)}


def _mean_by_epoch(values: Iterable[tuple[int, float]]) -> dict[int, float]:
    epochs: dict[int, list[float]] = defaultdict(list)
    for epoch, value in values:
        epochs[epoch + 1].append(value)
    return {epoch: math.fsum(found) / len(found) for epoch, found in sorted(epochs.items())}


def _rows(paths: Iterable[Path | str]) -> list[dict[str, str]]:
    """Return the filled cells of every row that has a step, file after file."""
    rows = []
    for path in map(Path, paths):
        if not path.is_file():
            continue
        with path.open(newline="") as file:
            cells = [{k: v for k, v in row.items() if k and v} for row in csv.DictReader(file)]
        rows += [row for row in cells if "step" in row]
    return rows
