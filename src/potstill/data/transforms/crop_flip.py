"""Random crop and flip of a whole batch, a function of (seed, epoch, sample id, view)."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from potstill.data.loaders.transfer import to_device
from potstill.data.transforms.counted_rng import uniforms
from potstill.data.transforms.pipeline import Distort
from potstill.errors import ConfigError

_AUGMENT = 2  # keeps these numbers apart from other uses of the same seed
_DRAWS = 3  # top, left, flip: one place each, used or not


def crop(images: Tensor, padding: int, top: Tensor, left: Tensor) -> Tensor:
    """Pad with black on every side and cut the old size out again, elsewhere for each image.

    Args:
        images: (N, C, H, W).
        padding: pixels on each side.
        top: (N,) int64, 0 .. 2 * padding: the first row of the padded image.
        left: (N,) int64: its first column.

    Example:
        >>> from torch import arange, tensor
        >>> image = arange(4.0).view(1, 1, 2, 2)
        >>> crop(image, 1, top=tensor([0]), left=tensor([1]))
        tensor([[[[0., 0.],
                  [0., 1.]]]])
    """
    height, width = images.shape[-2:]
    padded = F.pad(images, [padding] * 4)
    windows = padded.unfold(2, height, 1).unfold(3, width, 1)  # (N, C, 2p + 1, 2p + 1, H, W)
    return windows[torch.arange(len(images), device=images.device), :, top, left]


@dataclass(frozen=True)
class Augment:
    """Padded crop and flip, each off at 0 or false, and then what `distort` does.

    Crop and flip have few outcomes, and those are numbered: outcome
    `((top * (2p + 1)) + left) * 2 + mirrored` for a padding of p pixels; without flip, not
    times 2.
    """

    seed: int
    crop_padding: int = 0
    flip: bool = False
    distort: Distort | None = None

    def __post_init__(self) -> None:
        """Check that the padding is not negative."""
        if self.crop_padding < 0:
            raise ConfigError(
                f"data.crop_padding={self.crop_padding}: pixels cannot be negative. Fix: 0 or more"
            )

    @property
    def num_outcomes(self) -> int | None:
        """How many images can come of one; None where they are endless."""
        return None if self.distort else self._places**2 * (2 if self.flip else 1)

    @property
    def _places(self) -> int:
        return 2 * self.crop_padding + 1

    def outcome(self, sample_id: Tensor, epoch: int, view: int = 0) -> Tensor:
        """Return which crop and flip the images with ids (N,) get, (N,) int64."""
        uniform = uniforms(sample_id, _DRAWS, _AUGMENT, self.seed, epoch, view)  # (N, 3)
        top, left = (uniform[:, :2] * self._places).long().unbind(1)
        place = top * self._places + left
        return 2 * place + (uniform[:, 2] < 0.5) if self.flip else place

    def render(self, images: Tensor, outcome: Tensor) -> Tensor:
        """Return the crops and flips of images (N, C, H, W) that `outcome` (N,) numbers."""
        outcome = to_device(outcome, images.device)
        place = outcome // 2 if self.flip else outcome
        if self.crop_padding:
            images = crop(images, self.crop_padding, place // self._places, place % self._places)
        if self.flip:
            mirrored = (outcome % 2).bool()[:, None, None, None]
            images = torch.where(mirrored, images.flip(-1), images)
        return images

    def __call__(self, images: Tensor, sample_id: Tensor, epoch: int, view: int = 0) -> Tensor:
        """Return view `view` of images (N, C, H, W) uint8 with ids (N,) in `epoch`."""
        if self.crop_padding or self.flip:
            images = self.render(images, self.outcome(sample_id, epoch, view))
        return self.distort(images, sample_id, epoch, view) if self.distort else images
