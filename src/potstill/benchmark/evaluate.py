"""Predictions and accuracy of files on a test set, clean and corrupted, each in its engine."""

import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from potstill.benchmark.corruptions import TYPES, Batch, corrupted
from potstill.benchmark.open_file import Opened, open_file
from potstill.benchmark.tables import Measured, robust, unscored
from potstill.config.compose import Command, configs
from potstill.config.instantiate import instantiate
from potstill.config.typed import typed_in
from potstill.config.validate import validate
from potstill.config.write_places import check_places
from potstill.errors import ConfigError, PotstillError
from potstill.tasks.base import Task, check_task
from potstill.training.predict import predict

PREFIXES = ("data.", "task.")
TEACHER = -1  # the others count from 0


class HeldOut(NamedTuple):
    """A data module, set up for its test set, and what networks are to do with it."""

    data: Any
    task: Task


def load_test(
    name: str, settings: Iterable[str], config_dir: Path, task: str = "classification"
) -> HeldOut:
    """Return the data of `conf/data/NAME.yaml` and the task of `conf/task/TASK.yaml`.

    `settings` are `data.key=value` and `task.key=value`.

    Raises:
        ConfigError: if there is no such option or setting, the data does not suit the task, or a
            file would have it downloaded to where only a command may.
        DataError: if the data cannot be read.
    """
    if not (config_dir / "data").is_dir():
        raise ConfigError(
            f"--config-dir={config_dir}: holds no data options. Fix: potstill's conf folder"
        )
    for line in settings:
        if not line.startswith(PREFIXES) or "=" not in line:
            raise ConfigError(f"--set={line}: sets nothing of the data. Fix: --set data.KEY=VALUE")
    overrides = (f"data={name}", f"task={task}", *settings)
    [cfg] = configs(Command(config_dir.resolve(), overrides=overrides))
    validate(cfg)
    check_places(cfg, typed_in(overrides))
    data, found = instantiate(cfg.data), check_task(instantiate(cfg.task))
    found.check_data(data)
    data.setup("test")
    return HeldOut(data, found)


def check_fits(opened: Opened, data: Any) -> None:
    """Raise ConfigError if a file was made for other images or classes than these."""
    names = opened.facts.get("class_names")
    wanted = {
        "image_size": (opened.image_shape[-1], data.image_size),
        "num_classes": (len(names) if names else data.num_classes, data.num_classes),
        "mean": (_rounded(opened.facts.get("mean", data.mean)), _rounded(data.mean)),
        "std": (_rounded(opened.facts.get("std", data.std)), _rounded(data.std)),
    }
    for key, (theirs, ours) in wanted.items():
        if theirs != ours:
            raise ConfigError(
                f"{opened.path}: was made for {key}={theirs}, the data has {ours}. "
                f"Fix: other data, or --set data.{key}={str(theirs).replace(' ', '')}"
            )


def fill_in(
    rows: Sequence[tuple[Measured, Path]],
    held_out: HeldOut,
    teacher: Path | None,
    severity: int | None,
) -> None:
    """Fill in the rows the scores of the file beside each on the test set.

    Args:
        rows: to be filled in, and the file of each.
        held_out: the data, and the task that it tests.
        teacher: a file to agree with.
        severity: of corruptions; None for no corruptions.

    Raises:
        ConfigError: if the teacher was made for other data, or corruptions cannot be made.
    """
    data, task = held_out
    cores = os.cpu_count() or 1
    opened = {number: open_file(path, cores) for number, (_, path) in enumerate(rows)}
    chosen = dict(opened)
    if teacher is not None:
        chosen[TEACHER] = open_file(teacher, cores)
        check_fits(chosen[TEACHER], data)
    logits, targets = predict_files(chosen, data.test_dataloader())
    for number, (row, _) in enumerate(rows):
        scores = task.evaluate(logits[number], targets, logits.get(TEACHER))
        shown = unscored(task.scoring)
        row.scores = {name: value for name, value in scores.items() if name in shown}
        row.scoring = task.scoring
    if severity is not None:
        _corrupt([row for row, _ in rows], opened, held_out, severity)


def _corrupt(
    rows: Sequence[Measured], opened: dict[int, Opened], held_out: HeldOut, severity: int
) -> None:
    data, task = held_out
    found: list[dict[str, float]] = [{} for _ in rows]
    for kind in TYPES:
        logits, targets = predict_files(opened, corrupted(data, kind, severity))
        for number, scores in enumerate(found):
            scores[kind] = task.score(logits[number], targets)
    for row, scores in zip(rows, found, strict=True):
        row.corrupted = scores
        row.scores[robust(task.scoring)] = sum(scores.values()) / len(scores)


def predict_files(
    files: Mapping[int, Opened], batches: Iterable[Batch]
) -> tuple[dict[int, Tensor], Tensor]:
    """Return (the logits (M, K) of each file, targets (M,)); every batch goes to all files."""
    widths: list[int] = []  # files of unknown classes need not have the same number of them

    def forward(image: Tensor) -> Tensor:
        parts = [_logits(opened, image) for opened in files.values()]
        widths[:] = [part.shape[1] for part in parts]
        return torch.cat(parts, dim=1)

    logits, targets = predict(forward, batches)
    return dict(zip(files, logits.split(widths, dim=1), strict=True)), targets


def _logits(opened: Opened, image: Tensor) -> Tensor:
    try:
        return opened.logits(image).float()
    except PotstillError:
        raise
    except Exception as error:  # the engines' own exceptions share no class
        raise opened.refuses(image, error, "a file for any number of them") from error


def _rounded(values: Iterable[float]) -> list[float]:
    return [round(float(value), 4) for value in values]
