"""Batches of a loader: images, labels and, where known, sample ids."""

from typing import Any

from torch import Tensor, nn

from potstill.errors import ConfigError

Batch = tuple[Any, ...]


def check_views(name: str, head: nn.Module, given: int) -> None:
    """Raise where a head compares more views of an image than the batch holds."""
    wanted = int(getattr(head, "num_views", 1))
    if given < wanted:
        raise ConfigError(
            f"data.views={given}: head {name} needs {wanted} views. Fix: data.views={wanted}"
        )


def unpack(batch: Batch) -> tuple[Any, Tensor, Tensor | None]:
    """Return (image, target, sample_id) of a batch with or without sample ids."""
    image, target, *rest = batch
    return image, target, rest[0] if rest else None
