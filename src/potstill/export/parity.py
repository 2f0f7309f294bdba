"""Parity of an exported file with its network; a file that disagrees is removed."""

import os
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from potstill.atomic import write_atomically
from potstill.errors import DataError
from potstill.export.base import Exported
from potstill.export.runtimes.base import Runtime
from potstill.export.sensitivity import perturb_rounding
from potstill.integrity.sums import write_sum
from potstill.measure.sqnr import sqnr_db
from potstill.models.features.trace import in_eval_mode
from potstill.quantization.convert import is_converted
from potstill.quantization.dynamic import is_dynamic
from potstill.tasks.base import Task
from potstill.tasks.classification import Classification

FLOAT_DB = 60.0  # files in float32 reach 100 dB and more
# Trained int8 networks reach 34 dB and more in their runtimes. A processor whose kernels
# saturate came to 17 dB, a network that a runtime cut in pieces to -7 dB.
INTEGER_DB = 30.0
LOWEST_DB = 6.0

Content = bytes | Mapping[str, bytes]  # of a format in several files, by suffix, the main one last


@dataclass(frozen=True)
class Parity:
    """How two sets of outputs compare; the fields of `Exported`, and `clear`.

    `sqnr_db` is that of what the task compares by, or of the outputs as they are if that is less.
    `clear` is the agreement on images that are no near tie.
    """

    agreement: float
    max_difference: float
    sqnr_db: float
    clear: float


def compare(
    reference: Tensor, other: Tensor, min_sqnr_db: float, task: Task | None = None
) -> Parity:
    """Compare outputs (N, K), by what `task` calls agreement; classification without one.

    A near tie is an image where outputs within four standard deviations of the noise that
    `min_sqnr_db` allows may predict what `other` does.
    """
    task = task or Classification()
    signal, found = task.comparable(reference), task.comparable(other)
    noise = signal.double().square().mean().sqrt().item() * 10 ** (-min_sqnr_db / 20)
    return Parity(
        agreement=task.agree(reference, other).double().mean().item(),
        max_difference=(reference - other).abs().max().item(),
        sqnr_db=min(sqnr_db(signal, found), sqnr_db(reference, other)),
        clear=task.agree(reference, other, 4 * noise).double().mean().item(),
    )


def check(parity: Parity, min_sqnr_db: float, what: str, same: str = "same top class") -> None:
    """Raise DataError, beginning with `what`, unless the file computes what the network does.

    `same` is what the two have in common on an image where they agree.
    """
    # Not "<": a file that returns NaN must not pass.
    if not (parity.sqnr_db >= min_sqnr_db and parity.clear == 1):
        raise DataError(
            f"{what}: the file computes something else than the network: {parity.sqnr_db:.1f} dB "
            f"where {min_sqnr_db:.1f} are wanted, the {same} on {100 * parity.agreement:.1f} % "
            f"of the images, outputs up to {parity.max_difference:.3g} apart. No file was written. "
            "Fix: another export, or a network of other layers"
        )


def keep_verified(
    path: Path,
    content: Content,
    load: Callable[[Path], Runtime],
    network: nn.Module,
    images: Tensor,
    min_sqnr_db: float | None = None,
    task: Task | None = None,
) -> Exported:
    """Write `content` to `path` if, run on `images`, it gives the outputs of `network`.

    Its checksum is left beside it.

    Args:
        path: of the file.
        content: what is in it, and in those that belong to it.
        load: opens it in its runtime.
        network: what it was made from, in eval mode.
        images: (N, C, H, W).
        min_sqnr_db: how closely; None for `least_db`.
        task: what the outputs mean; classification without one.

    Raises:
        DataError: if it does not run or gives other outputs; then there is no file at `path`, nor
            an earlier one, nor any that belongs to it.
        StorageError: if it cannot be written.
    """
    task = task or Classification()
    reference = in_batches(network, images)
    floor = least_db(network, images, reference, task) if min_sqnr_db is None else min_sqnr_db
    trial = path.with_name(f".{path.stem}.{os.getpid()}{path.suffix}")
    parts = content if isinstance(content, Mapping) else {path.suffix: content}
    _remove(path, (*parts, f"{path.suffix}.sha256"))
    try:
        for suffix, part in parts.items():
            write_atomically(trial.with_suffix(suffix), part)
        runtime = load(trial)
        parity = compare(reference, runtime(images), floor, task)
        check(parity, floor, f"export={path.name}", task.scoring.same)
        for suffix in parts:
            os.replace(trial.with_suffix(suffix), path.with_suffix(suffix))
        write_sum(path, *(path.with_suffix(suffix) for suffix in parts))
    finally:
        _remove(trial, parts)
    numbers = (parity.agreement, parity.max_difference, parity.sqnr_db)
    beside = tuple(path.with_suffix(suffix).name for suffix in parts if suffix != path.suffix)
    size = sum(len(part) for part in parts.values())
    return Exported(path, size, runtime.name, *numbers, beside)


def _remove(path: Path, suffixes: Iterable[str]) -> None:
    """Remove a file, and those that belong to it, where they are there."""
    for suffix in suffixes:
        with suppress(FileNotFoundError, NotADirectoryError):
            path.with_suffix(suffix).unlink()


def least_db(
    network: nn.Module, images: Tensor, reference: Tensor, task: Task | None = None
) -> float:
    """Return how closely a file must give the logits `reference` of `network`, in decibels.

    In integers it is what the network keeps of them when it is rounded a little differently.
    """
    if not (is_converted(network) or is_dynamic(network)):
        return FLOAT_DB
    comparable = (task or Classification()).comparable
    perturbed = in_batches(perturb_rounding(network), images)
    own = sqnr_db(comparable(reference), comparable(perturbed))
    return max(LOWEST_DB, min(INTEGER_DB, own))


def check_converted(
    prepared: nn.Module, converted: nn.Module, images: Tensor, task: Task | None = None
) -> None:
    """Raise unless a converted network computes on images (N, C, H, W) what it was made from does.

    Args:
        prepared: the fake-quantized network.
        converted: its int8 form.
        images: on its device.
        task: what the outputs mean; classification without one.

    Raises:
        DataError: saying how far the two are apart.
    """
    with in_eval_mode(prepared):
        reference = in_batches(prepared, images)
    found = in_batches(converted, images)
    floor = least_db(converted, images, found, task)
    parity = compare(reference, found, floor, task)
    if not (parity.sqnr_db >= floor and parity.clear == 1):  # nor must NaN pass
        raise DataError(
            "quantization: the int8 network computes something else than the fake-quantized one: "
            f"{parity.sqnr_db:.1f} dB where {floor:.1f} are wanted, agreement on "
            f"{100 * parity.agreement:.1f} % of the images. Fix: keep_float=[...] of the layers "
            "that potstill.sensitivity names first"
        )


@torch.no_grad()
def in_batches(network: Callable[[Tensor], Tensor], images: Tensor, size: int = 64) -> Tensor:
    """Return logits (N, K) of images (N, C, H, W)."""
    return torch.cat([network(part) for part in images.split(size)])
