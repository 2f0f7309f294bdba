"""The first training images, for calibration and pruning criteria."""

from itertools import islice
from typing import Any

from torch import Tensor


def first_batches(data: Any, count: int) -> list[tuple[Tensor, Tensor]]:
    """Return (image, target) of the first `count` batches of epoch 0; of several views the first.

    Args:
        data: a data module after its setup.
        count: how many; fewer where an epoch has fewer.
    """
    loader = data.train_dataloader()
    loader.clock = None  # whatever epoch a trainer is in by now
    loader.set_epoch(0)
    return [(_first(image), target) for image, target, *_ in islice(loader, count)]


def _first(image: Any) -> Tensor:
    return image if isinstance(image, Tensor) else image[0]
