"""Counted augmentations after crop and flip: colour, RandAugment, cutout."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from potstill.data.loaders.transfer import to_device
from potstill.data.transforms.color_jitter import DRAWS, check_strengths, color_jitter
from potstill.data.transforms.counted_rng import uniforms
from potstill.data.transforms.randaugment import check_randaugment, randaugment
from potstill.errors import ConfigError

# Keep these numbers apart from other uses of the same seed.
_CUTOUT, _JITTER, _RANDAUGMENT = 6, 7, 8


def cutout(images: Tensor, size: int, uniform: Tensor) -> Tensor:
    """Blacken a square around a random pixel (DeVries and Taylor 2017, arXiv:1708.04552).

    Args:
        images: (N, C, H, W).
        size: the square's side in pixels; it may reach over the image's edge.
        uniform: (N, 2) in [0, 1): the centre's row and column.
    """
    height, width = images.shape[-2:]
    centre = torch.stack([uniform[:, 0] * height, uniform[:, 1] * width], 1).long()
    first = centre - size // 2  # (N, 2)
    row = torch.arange(height, device=images.device) - first[:, :1]  # (N, H)
    column = torch.arange(width, device=images.device) - first[:, 1:]  # (N, W)
    inside = ((row >= 0) & (row < size))[:, :, None] & ((column >= 0) & (column < size))[:, None]
    return images.masked_fill(inside[:, None], 0)


def numbers(value: Any) -> tuple[Any, ...] | None:
    """Return a list from the configuration as a tuple; one number alone as a list of one."""
    if value is None:
        return None
    return tuple(value) if isinstance(value, Sequence) else (value,)


@dataclass(frozen=True)
class Distort:
    """Colour jitter, RandAugment and cutout, in this order; each off at null or 0.

    Args:
        seed: of the draws.
        color_jitter: strength of brightness, contrast, saturation and hue.
        randaugment: how many operations, and their magnitude out of 30.
        cutout: side of a black square in pixels.
    """

    seed: int
    color_jitter: tuple[float, ...] | None = None
    randaugment: tuple[int, ...] | None = None
    cutout: int = 0

    def __post_init__(self) -> None:
        """Check the strengths, the operations and the square's side."""
        if self.color_jitter is not None:
            check_strengths(self.color_jitter)
        if self.randaugment is not None:
            check_randaugment(self.randaugment)
        if self.cutout < 0:
            raise ConfigError(
                f"data.cutout={self.cutout}: pixels cannot be negative. Fix: 0 or more"
            )

    @property
    def on(self) -> bool:
        """Whether any of the augmentations is set."""
        return bool(self.color_jitter or self.randaugment or self.cutout)

    def __call__(self, images: Tensor, sample_id: Tensor, epoch: int, view: int = 0) -> Tensor:
        """Return view `view` of images (N, 3, H, W) uint8 with ids (N,) in `epoch`."""

        def draw(draws: int, stream: int) -> Tensor:
            return uniforms(sample_id, draws, stream, self.seed, epoch, view)

        if self.color_jitter:
            images = color_jitter(images, self.color_jitter, draw(DRAWS, _JITTER))
        if self.randaugment:
            operations, magnitude = self.randaugment
            images = randaugment(images, magnitude, draw(2 * operations, _RANDAUGMENT))
        if self.cutout:
            images = cutout(images, self.cutout, to_device(draw(2, _CUTOUT), images.device))
        return images
