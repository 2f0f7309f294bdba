"""The first batches of a loader, for judging or calibrating a network."""

from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Any

from torch import Tensor

from potstill.errors import ConfigError


def calibration_batches(
    batches: Iterable[Any], count: int | None = None
) -> Iterator[tuple[Tensor, ...]]:
    """Yield the first `count` batches, or all, as tuples that begin with images (N, C, H, W).

    A batch is images alone, or a tuple that begins with them; of several views the first counts.

    Raises:
        ConfigError: if there is no batch.
    """
    empty = True
    for batch in islice(batches, count):
        empty = False
        image, *rest = (batch,) if isinstance(batch, Tensor) else batch
        yield (image if isinstance(image, Tensor) else image[0], *rest)
    if empty:
        raise ConfigError("batches=[]: nothing to calibrate with. Fix: a loader of images")


def first_batches(data: Any, count: int) -> list[tuple[Tensor, ...]]:
    """Return (image, target) of the first `count` batches of epoch 0; of several views the first.

    Args:
        data: a data module after its setup.
        count: how many; fewer where an epoch has fewer.
    """
    loader = data.train_dataloader()
    loader.clock = None  # whatever epoch a trainer is in by now
    loader.set_epoch(0)
    return [batch[:2] for batch in calibration_batches(loader, count)]
