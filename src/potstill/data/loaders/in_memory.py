"""Loader of images that fit in memory: uint8 on the training device, no workers."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from potstill.data.loaders.epoch_order import EpochLoader, eval_batches
from potstill.data.loaders.transfer import to_device
from potstill.data.loaders.views import Viewing
from potstill.data.transforms.crop_flip import Augment

Views = tuple[tuple[Tensor, ...], Tensor]  # each view (N, 3, H, W), and the targets
Batch = tuple[Tensor | tuple[Tensor, ...], Tensor, Tensor]


@dataclass(frozen=True)
class Images:
    """A split: images (N, 3, H, W) uint8 and targets (N,) int64, in the order of the sample ids."""

    images: Tensor
    targets: Tensor

    def __len__(self) -> int:
        return len(self.targets)

    def __getitem__(self, sample_id: Tensor) -> "Images":
        """Return the images with these ids (M,)."""
        return Images(self.images[sample_id], self.targets[sample_id])

    def identity(self) -> tuple[Tensor, ...]:
        """Return the identity of these images: pixels and targets."""
        return self.images, self.targets

    def to(self, device: torch.device) -> "Images":
        """Return the same images on `device`."""
        return Images(self.images.to(device), self.targets.to(device))


class Normalize:
    """Turn bytes (N, 3, H, W) into float32, `(x / 255 - mean) / std`, channels last."""

    def __init__(
        self,
        mean: tuple[float, ...],
        std: tuple[float, ...],
        device: torch.device | str = "cpu",
    ) -> None:
        self.mean = 255 * torch.tensor(mean, device=device).view(-1, 1, 1)
        self.std = 255 * torch.tensor(std, device=device).view(-1, 1, 1)

    def __call__(self, images: Tensor) -> Tensor:
        """Return uint8 images (N, 3, H, W) as float32, normalised by channel."""
        images = images.to(torch.float32, memory_format=torch.channels_last)
        return images.sub_(_plane(self.mean, images)).div_(_plane(self.std, images))


def _plane(channels: Tensor, images: Tensor) -> Tensor:
    """Return (1, 3, H, W) of three numbers: where channels come last, 10 times as fast as those."""
    plane = channels.expand(images.shape[1:])[None]
    return plane.contiguous(memory_format=torch.channels_last)


class ArrayLoader(EpochLoader):
    """Training batches `(image, target, sample_id)` of images that lie on one device.

    image is (N, 3, H, W) float32, or a tuple of `viewing.count` such tensors where that is
    above 1. target is (N,) int64, or (N, K) float32 where images are mixed.
    """

    def __init__(
        self,
        images: Images,
        batch_size: int,
        viewing: Viewing[Augment],
        normalize: Normalize,
        drop_last: bool = True,
    ) -> None:
        super().__init__(len(images), batch_size, viewing.augment.seed, drop_last)
        self.images, self.viewing, self.normalize = images, viewing, normalize
        self.device = images.targets.device

    def read(self, batches: list[Tensor]) -> Iterator[Batch]:
        """Yield the images of each tensor of ids."""
        epoch = self.epoch
        for sample_id in batches:
            images, target = self.views(sample_id, epoch, range(self.viewing.count))
            yield (
                images[0] if len(images) == 1 else images,
                target,
                to_device(sample_id, self.device),
            )

    def views(self, sample_id: Tensor, epoch: int, views: Iterable[int]) -> Views:
        """Return the given views of the images with ids (N,), on the CPU, and their targets."""
        # Draws are made on the CPU: to read one from the device would wait for the step before.
        height, width = self.images.images.shape[-2:]
        mixture = self.viewing.mixture(sample_id, epoch, len(self.images), (height, width))
        ids = mixture.ids(sample_id) if mixture else sample_id
        chosen = self.images[to_device(ids, self.device)]
        epoch = self.viewing.epoch(epoch)
        images = tuple(
            self.normalize(self.viewing.augment(chosen.images, ids, epoch, view)) for view in views
        )
        if mixture is None:
            return images, chosen.targets
        return tuple(map(mixture.images, images)), mixture.targets(chosen.targets)

    def render(self, sample_id: Tensor, view_index: Tensor) -> Tensor:
        """Return the views numbered by their crop and flip (N,) of the images (N,)."""
        chosen = self.images[to_device(sample_id, self.device)]
        return self.normalize(self.viewing.augment.render(chosen.images, view_index))


class ArrayEvalLoader:
    """Evaluation batches `(image, target, sample_id)`: every image once, in order, as it is."""

    def __init__(self, images: Images, batch_size: int, normalize: Normalize) -> None:
        self.images, self.batch_size, self.normalize = images, batch_size, normalize

    def __len__(self) -> int:
        return len(eval_batches(len(self.images), self.batch_size))

    def __iter__(self) -> Iterator[Batch]:
        for sample_id in eval_batches(len(self.images), self.batch_size):
            sample_id = to_device(sample_id, self.images.targets.device)
            chosen = self.images[sample_id]
            yield self.normalize(chosen.images), chosen.targets, sample_id
