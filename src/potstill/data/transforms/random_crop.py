"""Random resized crop for training, centre crop for evaluation, of images of any size."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torchvision.transforms.v2 import functional as TF

from potstill.data.transforms.counted_rng import uniforms
from potstill.data.transforms.pipeline import Distort
from potstill.errors import ConfigError

_CROP = 5  # keeps these numbers apart from other uses of the same seed
_ATTEMPTS = 10
_DRAWS = 2 * _ATTEMPTS + 3  # area and shape of each attempt, top, left, flip


def crop_box(
    height: int,
    width: int,
    scale: tuple[float, ...],
    ratio: tuple[float, ...],
    uniform: list[float],
) -> tuple[int, int, int, int]:
    """Return (top, left, height, width) of a random part, as Inception takes it (arXiv:1409.4842).

    Area and log aspect ratio are drawn evenly until the part fits, ten times at most; then it
    is the largest part in the middle with an allowed ratio.

    Args:
        height: of the image.
        width: of the image.
        scale: least and greatest share of the area.
        ratio: least and greatest width / height.
        uniform: 22 numbers in [0, 1): area and shape of ten attempts, then top and left.
    """
    low, high = math.log(ratio[0]), math.log(ratio[1])
    for attempt in range(_ATTEMPTS):
        area = height * width * (scale[0] + (scale[1] - scale[0]) * uniform[2 * attempt])
        shape = math.exp(low + (high - low) * uniform[2 * attempt + 1])
        w, h = round(math.sqrt(area * shape)), round(math.sqrt(area / shape))
        if 0 < w <= width and 0 < h <= height:
            top = int(uniform[2 * _ATTEMPTS] * (height - h + 1))
            left = int(uniform[2 * _ATTEMPTS + 1] * (width - w + 1))
            return top, left, h, w
    w = min(width, round(height * ratio[1]))
    h = min(height, round(width / ratio[0]))
    return (height - h) // 2, (width - w) // 2, h, w


@dataclass(frozen=True)
class RandomCrop:
    """A random part of a photograph, resized, perhaps mirrored, and then what `distort` does.

    All of it by (seed, epoch, id, view).
    """

    seed: int
    image_size: int
    scale: tuple[float, ...] = (0.08, 1.0)
    ratio: tuple[float, ...] = (3 / 4, 4 / 3)
    flip: bool = True
    distort: Distort | None = None

    def __post_init__(self) -> None:
        """Check that scale and ratio are ranges above 0, and the scale up to 1."""
        for name, limits in (("crop_scale", self.scale), ("crop_ratio", self.ratio)):
            if len(limits) != 2 or not 0 < limits[0] <= limits[1]:
                raise ConfigError(
                    f"data.{name}={list(limits)}: no range. Fix: [least, greatest], above 0"
                )
        if self.scale[1] > 1:
            raise ConfigError(f"data.crop_scale={list(self.scale)}: above the whole. Fix: up to 1")

    def __call__(self, image: Tensor, sample_id: int, epoch: int, view: int = 0) -> Tensor:
        """Return (3, image_size, image_size) of an image (3, H, W) uint8."""
        number = torch.tensor([sample_id])
        uniform = uniforms(number, _DRAWS, _CROP, self.seed, epoch, view)
        numbers = uniform[0].tolist()
        box = crop_box(image.shape[1], image.shape[2], self.scale, self.ratio, numbers)
        image = TF.resized_crop(image, *box, [self.image_size] * 2, antialias=True)
        image = TF.horizontal_flip(image) if self.flip and numbers[-1] < 0.5 else image
        return self.distort(image[None], number, epoch, view)[0] if self.distort else image


@dataclass(frozen=True)
class CentreCrop:
    """The middle of a photograph, `ratio` of its shorter side, resized."""

    image_size: int
    ratio: float = 0.875

    def __post_init__(self) -> None:
        """Check that the ratio is in (0, 1]."""
        if not 0 < self.ratio <= 1:
            raise ConfigError(
                f"data.eval_crop_ratio={self.ratio}: not a part. Fix: above 0, up to 1"
            )

    def __call__(self, image: Tensor) -> Tensor:
        """Return (3, image_size, image_size) of an image (3, H, W) uint8."""
        image = TF.resize(image, [round(self.image_size / self.ratio)], antialias=True)
        return TF.center_crop(image, [self.image_size] * 2)
