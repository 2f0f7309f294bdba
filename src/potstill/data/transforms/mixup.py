"""Mixup and CutMix, functions of (seed, epoch, sample id)."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from scipy.special import betaincinv
from torch import Tensor

from potstill.data.loaders.transfer import to_device
from potstill.data.transforms.counted_rng import uniforms
from potstill.errors import ConfigError

_MIX = 9  # keeps these numbers apart from other uses of the same seed
_DRAWS = 6  # partner (two), method, share, the box's row and column


@dataclass(frozen=True)
class Mixture:
    """What becomes of N images.

    Args:
        partner: (N,) int64, the id of the other image.
        share: (N,) float32, how much of the target stays.
        box: (N, 4) int64: top, left, bottom, right of the part that comes from the other image.
        cut: (N,) bool: CutMix with `box`; else mixup with `share`.
        num_classes: K.
    """

    partner: Tensor
    share: Tensor
    box: Tensor
    cut: Tensor
    num_classes: int

    def ids(self, sample_id: Tensor) -> Tensor:
        """Return the ids of the images (N,) and then of their partners, (2N,)."""
        return torch.cat([sample_id, self.partner])

    def images(self, images: Tensor) -> Tensor:
        """Return the N mixed images of those with `ids`, (2N, 3, H, W) float32."""
        own, other = images.chunk(2)
        inside = _inside(to_device(self.box, own.device), *own.shape[-2:])  # (N, H, W)
        share = to_device(self.share, own.device)[:, None, None]
        weight = torch.where(to_device(self.cut, own.device)[:, None, None], ~inside, share)
        return torch.lerp(other, own, weight[:, None])

    def targets(self, classes: Tensor) -> Tensor:
        """Return the N mixed targets of those with `ids`, (2N,) int64: (N, K) float32."""
        own, other = F.one_hot(classes, self.num_classes).float().chunk(2)  # (N, K) each
        return torch.lerp(other, own, to_device(self.share, own.device)[:, None])


@dataclass(frozen=True)
class Mix:
    """Mixup (Zhang et al. 2018, arXiv:1710.09412) and CutMix (Yun et al. 2019, arXiv:1905.04899).

    Where both are on, each image gets one of them, half and half. All views of an image have
    the same partner, share and box, because they have one target.

    Args:
        seed: of the draws.
        num_classes: K of the mixed targets; None where targets are no classes, which do not mix.
        mixup: alpha of the Beta(alpha, alpha) from which mixup draws shares; 0 for off.
        cutmix: the same of CutMix.
    """

    seed: int
    num_classes: int | None
    mixup: float = 0.0
    cutmix: float = 0.0

    def __post_init__(self) -> None:
        """Check that the parameters are those of a distribution."""
        for name in ("mixup", "cutmix"):
            if not 0 <= getattr(self, name) < float("inf"):
                raise ConfigError(
                    f"data.{name}={getattr(self, name)}: no alpha of a Beta distribution. "
                    "Fix: 0 for off, or a number above 0 like 0.2 or 1.0"
                )
            if getattr(self, name) and self.num_classes is None:
                raise ConfigError(
                    f"data.{name}={getattr(self, name)}: mixes classes, and the data has none. "
                    f"Fix: data.{name}=0"
                )

    @property
    def on(self) -> bool:
        """Whether mixup or CutMix has an alpha above 0."""
        return self.mixup > 0 or self.cutmix > 0

    def plan(
        self, sample_id: Tensor, epoch: int, num_samples: int, size: tuple[int, int]
    ) -> Mixture:
        """Return what the images with ids (N,) are mixed with in `epoch`, and how.

        Args:
            sample_id: (N,) int64.
            epoch: of the draws.
            num_samples: the split has; the partner is any other one of them.
            size: height and width.
        """
        uniform = uniforms(sample_id.cpu(), _DRAWS, _MIX, self.seed, epoch)  # (N, 6)
        if self.mixup and self.cutmix:
            cut = uniform[:, 2] < 0.5
        else:
            cut = torch.full((len(uniform),), self.cutmix > 0)
        share = torch.where(
            cut, _beta(self.cutmix, uniform[:, 3]), _beta(self.mixup, uniform[:, 3])
        )
        box = cut_box(share, size, uniform[:, 4:])
        area = (box[:, 2:] - box[:, :2]).prod(1) / (size[0] * size[1])
        # In float32 only now: a box's edges hang on the root of the share.
        share = torch.where(cut, 1 - area, share).float()
        partner = _partner(sample_id.cpu(), num_samples, uniform[:, :2])
        assert self.num_classes is not None
        return Mixture(partner, share, box, cut, self.num_classes)


def cut_box(share: Tensor, size: tuple[int, int], uniform: Tensor) -> Tensor:
    """Return CutMix's boxes (N, 4): top, left, bottom, right, cut off at the image's edge.

    Args:
        share: (N,) float64, of the image outside the whole box.
        size: height and width.
        uniform: (N, 2) in [0, 1): row and column of the centre.
    """
    whole = torch.tensor(size)
    centre = (uniform * whole).long()
    half = (0.5 * (1 - share).sqrt()[:, None] * whole).long()  # (N, 2)
    return torch.cat([(centre - half).clamp(min=0), (centre + half).minimum(whole)], 1)


def _beta(alpha: float, uniform: Tensor) -> Tensor:
    """Return draws of Beta(alpha, alpha) by its inverse distribution function, (N,) float64."""
    if not alpha:
        return torch.ones_like(uniform, dtype=torch.float64)
    return torch.from_numpy(betaincinv(alpha, alpha, uniform.double().numpy()))


def _partner(sample_id: Tensor, num_samples: int, uniform: Tensor) -> Tensor:
    high, low = (uniform * 2**24).long().unbind(1)  # 24 bits are few for millions of samples
    return (sample_id + 1 + (high * 2**24 + low) % (num_samples - 1)) % num_samples


def _inside(box: Tensor, height: int, width: int) -> Tensor:
    row, column = (torch.arange(length, device=box.device) for length in (height, width))
    top, left, bottom, right = box[:, :, None].unbind(1)  # (N, 1) each
    return ((row >= top) & (row < bottom))[:, :, None] & ((column >= left) & (column < right))[
        :, None
    ]
