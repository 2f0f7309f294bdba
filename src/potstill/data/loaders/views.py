"""Augmented views of training images, numbered where there are finitely many."""

from dataclasses import dataclass, replace
from typing import Any, Generic, TypeVar

import torch
from torch import Tensor

from potstill.data.transforms.crop_flip import Augment
from potstill.data.transforms.mixup import Mix, Mixture
from potstill.data.transforms.random_crop import RandomCrop
from potstill.errors import ConfigError

Augmentation = TypeVar("Augmentation", Augment, RandomCrop)


@dataclass(frozen=True)
class Viewing(Generic[Augmentation]):
    """Views of images, a pure function of (seed, epoch, sample id, view).

    Args:
        augment: what is done to each image.
        mix: what it is mixed with, if anything.
        count: views of each image in a step.
        cycle: after how many epochs the views come round; None for never.
    """

    augment: Augmentation
    mix: Mix | None = None
    count: int = 1
    cycle: int | None = None

    def __post_init__(self) -> None:
        """Check that counts are positive, and that a cycle has more than one view."""
        for name, number in (("views", self.count), ("view_cycle", self.cycle)):
            if number is not None and number < 1:
                raise ConfigError(f"data.{name}={number}: too few. Fix: 1 or more")
        if self.cycle is not None and self._num_outcomes == 1:
            raise ConfigError(
                f"data.view_cycle={self.cycle}: nothing is augmented, so every epoch shows the "
                "same images already. Fix: data.view_cycle=null"
            )

    @property
    def _num_outcomes(self) -> int | None:
        if self.mix is not None or not isinstance(self.augment, Augment):
            return None
        return self.augment.num_outcomes

    @property
    def num_views(self) -> int | None:
        """How many views of an image there are; None where they never come round."""
        return self._num_outcomes if self.cycle is None else self.cycle * self.count

    @property
    def identity(self) -> str:
        """What a view's number means: where this and the data are the same, so are the views.

        Crops and flips mean the same whatever the seed, which only decides when they are shown.
        """
        if self.cycle is None and self.num_views is not None:
            return repr(replace(self.augment, seed=0))
        return repr(self)

    def epoch(self, epoch: int) -> int:
        """Return the epoch whose views `epoch` shows."""
        return epoch % self.cycle if self.cycle else epoch

    def index(self, sample_id: Tensor, epoch: int, view: int = 0) -> Tensor:
        """Return which of the `num_views` views `epoch` shows of each id (N,), (N,) int64.

        Raises:
            ConfigError: where there are endless views.
        """
        if self.cycle:
            return torch.full_like(sample_id, self.epoch(epoch) * self.count + view)
        if self.num_views is None or not isinstance(self.augment, Augment):
            raise ConfigError(
                "data.view_cycle=null: this augmentation never shows an image twice, so its "
                "views cannot be numbered. Fix: data.view_cycle=K, and they come round after K "
                "epochs"
            )
        return self.augment.outcome(sample_id, epoch, view)

    def mixture(
        self, sample_id: Tensor, epoch: int, num_samples: int, size: tuple[int, int]
    ) -> Mixture | None:
        """Return what the images (N,) are mixed with in `epoch`; None if with nothing."""
        if self.mix is None:
            return None
        return self.mix.plan(sample_id, self.epoch(epoch), num_samples, size)


def render(
    loader: Any, sample_id: Tensor, view_index: Tensor, image_shape: tuple[int, int, int]
) -> Tensor:
    """Return the numbered views (N,) of the images with ids (N,), (N, 3, H, W) float32.

    `loader` is the one that shows them in training, an `ArrayLoader` or a `FolderLoader`.
    """
    viewing: Viewing[Any] = loader.viewing
    if viewing.cycle is None:
        viewing.index(sample_id, 0)  # raises where views have no number
        return loader.render(sample_id, view_index)
    sample_id, view_index = sample_id.cpu(), view_index.cpu()
    images = torch.empty(
        (len(sample_id), *image_shape), device=loader.device, memory_format=torch.channels_last
    )
    for index in view_index.unique().tolist():
        rows = (view_index == index).nonzero()[:, 0]
        epoch, view = divmod(index, viewing.count)
        (shown,), _ = loader.views(sample_id[rows], epoch, [view])
        images[rows.to(loader.device)] = shown
    return images
