"""Accuracy of files on a test set, clean and corrupted."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from potstill.benchmark.corruptions import TYPES
from potstill.benchmark.evaluate import check_fits, corrupted, predict
from potstill.benchmark.open_file import Opened, open_file
from potstill.benchmark.tables import Measured
from potstill.measure import metrics

TEACHER = -1  # the others count from 0


def fill_in(
    rows: Sequence[tuple[Measured, Path]], data: Any, teacher: Path | None, severity: int | None
) -> None:
    """Fill in the rows what the test set of `data` says of the file beside each.

    Args:
        rows: to be filled in, and the file of each.
        data: a data module, set up.
        teacher: a file to agree with.
        severity: of corruptions; None for no corruptions.

    Raises:
        ConfigError: if the teacher was made for other data, or corruptions cannot be made.
    """
    cores = os.cpu_count() or 1
    opened = {number: open_file(path, cores) for number, (_, path) in enumerate(rows)}
    asked = dict(opened)
    if teacher is not None:
        asked[TEACHER] = open_file(teacher, cores)
        check_fits(asked[TEACHER], data)
    logits, targets = predict(asked, data.test_dataloader())
    for number, (row, _) in enumerate(rows):
        row.accuracy = metrics.accuracy(logits[number], targets)
        row.ece = metrics.calibration_error(logits[number], targets)
        if teacher is not None:
            row.agreement = metrics.agreement(logits[number], logits[TEACHER])
    if severity is not None:
        _corrupt([row for row, _ in rows], opened, data, severity)


def _corrupt(rows: Sequence[Measured], opened: dict[int, Opened], data: Any, severity: int) -> None:
    found: list[dict[str, float]] = [{} for _ in rows]
    for kind in TYPES:
        logits, targets = predict(opened, corrupted(data, kind, severity))
        for number, accuracies in enumerate(found):
            accuracies[kind] = metrics.accuracy(logits[number], targets)
    for row, accuracies in zip(rows, found, strict=True):
        row.corrupted = accuracies
        row.robust_accuracy = sum(accuracies.values()) / len(accuracies)
