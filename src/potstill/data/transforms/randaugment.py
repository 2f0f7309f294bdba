"""RandAugment of a whole batch at once (Cubuk et al. 2019, arXiv:1909.13719)."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torchvision.transforms import InterpolationMode
from torchvision.transforms.v2 import functional as TF

from potstill.data.loaders.transfer import to_device
from potstill.errors import ConfigError

BINS = 30  # the paper's largest magnitude


def _shear(images: Tensor, x: float, y: float) -> Tensor:
    return TF.affine(
        images,
        angle=0.0,
        translate=[0, 0],
        scale=1.0,
        shear=[math.degrees(math.atan(x)), math.degrees(math.atan(y))],
        interpolation=InterpolationMode.NEAREST,
        center=[0, 0],
    )


def _translate(images: Tensor, x: float, y: float) -> Tensor:
    return TF.affine(
        images,
        angle=0.0,
        translate=[int(x), int(y)],
        scale=1.0,
        shear=[0.0, 0.0],
        interpolation=InterpolationMode.NEAREST,
    )


@dataclass(frozen=True)
class Strength:
    """How much of an operation's range is used, and to which side."""

    magnitude: int
    sign: int = 1

    def __call__(self, end: float, start: float = 0.0) -> float:
        """Return the value between `start` and `end`, rounded as torchvision rounds it."""
        return self.sign * float(torch.linspace(start, end, BINS + 1)[self.magnitude])


Operation = Callable[[Tensor, Strength], Tensor]
# The ranges are torchvision's; these operations have a random sign.
SIGNED: tuple[Operation, ...] = (
    lambda images, s: _shear(images, s(0.3), 0.0),
    lambda images, s: _shear(images, 0.0, s(0.3)),
    lambda images, s: _translate(images, s(150 / 331 * images.shape[-1]), 0.0),
    lambda images, s: _translate(images, 0.0, s(150 / 331 * images.shape[-2])),
    lambda images, s: TF.rotate(images, s(30.0), InterpolationMode.NEAREST),
    lambda images, s: TF.adjust_brightness(images, 1 + s(0.9)),
    lambda images, s: TF.adjust_saturation(images, 1 + s(0.9)),
    lambda images, s: TF.adjust_contrast(images, 1 + s(0.9)),
    lambda images, s: TF.adjust_sharpness(images, 1 + s(0.9)),
)
UNSIGNED: tuple[Operation, ...] = (
    lambda images, s: images,
    lambda images, s: TF.posterize(images, round(s(4.0, start=8.0))),
    lambda images, s: TF.solarize(images, 255 * s(0.0, start=1.0)),
    lambda images, s: TF.autocontrast(images),
    lambda images, s: TF.equalize(images),
)
OPERATIONS = SIGNED + UNSIGNED


def check_randaugment(settings: tuple[int, ...]) -> None:
    """Raise where `settings` are not a number of operations and a magnitude."""
    whole = all(type(number) is int for number in settings)
    if len(settings) != 2 or not whole or settings[0] < 1 or not 0 <= settings[1] <= BINS:
        raise ConfigError(
            f"data.randaugment={list(settings)}: must be how many operations, 1 or more, and a "
            f"magnitude from 0 to {BINS}. Fix: null, or [operations, magnitude] like [2,9]"
        )


def randaugment(images: Tensor, magnitude: int, uniform: Tensor) -> Tensor:
    """Apply random operations of one strength, one after another, to each image.

    Images with the same operation and sign are changed together.

    Args:
        images: (N, 3, H, W) uint8; not changed.
        magnitude: 0 .. 30.
        uniform: (N, 2 * operations) in [0, 1): which operation, and its sign, for each.
    """
    images = images.clone()
    for draw in uniform.view(len(images), -1, 2).unbind(1):  # (N, 2)
        operation = (draw[:, 0] * len(OPERATIONS)).long()
        negative = (draw[:, 1] < 0.5) & (operation < len(SIGNED))
        code = 2 * operation + negative  # (N,)
        for group in code.unique().tolist():
            rows = to_device((code == group).nonzero()[:, 0], images.device)
            strength = Strength(magnitude, sign=-1 if group % 2 else 1)
            images[rows] = OPERATIONS[group // 2](images[rows], strength)
    return images
