"""Loader of images that fit in memory: uint8 on the training device, no workers."""

from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from potstill.data.loaders.epoch_order import EpochLoader, eval_batches
from potstill.data.loaders.transfer import to_device
from potstill.data.loaders.views import Viewing
from potstill.data.transforms.crop_flip import Augment
from potstill.data.transforms.mixup import Mixture

Views = tuple[tuple[Tensor, ...], Tensor]  # each view (N, 3, H, W), and the targets
Batch = tuple[Tensor | tuple[Tensor, ...], Tensor, Tensor]


@dataclass(frozen=True)
class Images:
    """A split: images (N, 3, H, W) uint8 and targets (N, ...), in the order of the sample ids."""

    images: Tensor
    targets: Tensor

    def __len__(self) -> int:
        return len(self.targets)

    def __getitem__(self, sample_id: Tensor) -> "Images":
        """Return the images with these ids (M,)."""
        return Images(self.images[sample_id], self.targets[sample_id])

    @property
    def size(self) -> tuple[int, int]:
        """Height and width, in pixels."""
        return self.images.shape[-2], self.images.shape[-1]

    def identity(self) -> tuple[Tensor, ...]:
        """Return the identity of these images: pixels and targets."""
        return self.images, self.targets

    def to(self, device: torch.device) -> "Images":
        """Return the same images on `device`."""
        return Images(self.images.to(device), self.targets.to(device))


class Normalize:
    """Turn bytes (N, 3, H, W) into float32, `(x / 255 - mean) / std`, channels last.

    Args:
        mean, std: of pixels between 0 and 1, a number for each channel.
        device: where the images are.
        white: the largest value of a pixel; 1 for images that are floats already.
    """

    def __init__(
        self,
        mean: tuple[float, ...],
        std: tuple[float, ...],
        device: torch.device | str = "cpu",
        white: int = 255,
    ) -> None:
        self.mean = white * torch.tensor(mean, device=device).view(-1, 1, 1)
        self.std = white * torch.tensor(std, device=device).view(-1, 1, 1)

    def __call__(self, images: Tensor) -> Tensor:
        """Return uint8 images (N, 3, H, W) as float32, normalised by channel."""
        images = images.to(torch.float32, memory_format=torch.channels_last)
        return images.sub_(_plane(self.mean, images)).div_(_plane(self.std, images))


def _plane(channels: Tensor, images: Tensor) -> Tensor:
    """Return (1, 3, H, W) of three numbers: where channels come last, 10 times as fast as those."""
    plane = channels.expand(images.shape[1:])[None]
    return plane.contiguous(memory_format=torch.channels_last)


class AugmentedLoader(EpochLoader):
    """Training batches `(image, target, sample_id)`, augmented on the device a batch at a time.

    image is (N, 3, H, W) float32, or a tuple of `viewing.count` such tensors where that is
    above 1. target is (N,) int64, or (N, K) float32 where images are mixed. Subclasses
    implement `fetch`.
    """

    def __init__(
        self,
        count: int,
        size: tuple[int, int],
        batch_size: int,
        viewing: Viewing[Augment],
        normalize: Normalize,
        device: torch.device,
        drop_last: bool = True,
    ) -> None:
        super().__init__(count, batch_size, viewing.augment.seed, drop_last)
        self.viewing, self.normalize, self.device = viewing, normalize, device
        self._size = size

    def read(self, batches: list[Tensor]) -> Iterator[Batch]:
        """Yield the images of each tensor of ids."""
        epoch, plans = self.epoch, deque[Mixture | None]()

        def requests() -> Iterator[Tensor]:
            for sample_id in batches:
                plans.append(self._mixture(sample_id, epoch))
                yield _ids(sample_id, plans[-1])

        for sample_id, chosen in zip(batches, self.stream(requests()), strict=True):
            shown = range(self.viewing.count)
            images, target = self._shown(sample_id, epoch, shown, plans.popleft(), chosen)
            yield (
                images[0] if len(images) == 1 else images,
                target,
                to_device(sample_id, self.device),
            )

    def stream(self, batches: Iterable[Tensor]) -> Iterator[Images]:
        """Yield the images of each tensor of ids, as they are."""
        return map(self.fetch, batches)

    def fetch(self, ids: Tensor) -> Images:
        """Return the images with these ids (M,), as they are."""
        raise NotImplementedError

    def views(self, sample_id: Tensor, epoch: int, views: Iterable[int]) -> Views:
        """Return the given views of the images with ids (N,), on the CPU, and their targets."""
        mixture = self._mixture(sample_id, epoch)
        chosen = self.fetch(_ids(sample_id, mixture))
        return self._shown(sample_id, epoch, views, mixture, chosen)

    def _mixture(self, sample_id: Tensor, epoch: int) -> Mixture | None:
        return self.viewing.mixture(sample_id, epoch, self.num_samples, self._size)

    def _shown(
        self,
        sample_id: Tensor,
        epoch: int,
        views: Iterable[int],
        mixture: Mixture | None,
        chosen: Images,
    ) -> Views:
        # Draws are made on the CPU: to read one from the device would wait for the step before.
        ids, epoch = _ids(sample_id, mixture), self.viewing.epoch(epoch)
        images = tuple(
            self.normalize(self.viewing.augment(chosen.images, ids, epoch, view)) for view in views
        )
        if mixture is None:
            return images, chosen.targets
        return tuple(map(mixture.images, images)), mixture.targets(chosen.targets)

    def render(self, sample_id: Tensor, view_index: Tensor) -> Tensor:
        """Return the views numbered by their crop and flip (N,) of the images (N,)."""
        images = self.fetch(sample_id).images
        return self.normalize(self.viewing.augment.render(images, view_index))


def _ids(sample_id: Tensor, mixture: Mixture | None) -> Tensor:
    """Return the ids of the images that a batch (N,) is made of: mixed, of their partners too."""
    return mixture.ids(sample_id) if mixture else sample_id


class ArrayLoader(AugmentedLoader):
    """Training batches of images that lie on one device."""

    def __init__(
        self,
        images: Images,
        batch_size: int,
        viewing: Viewing[Augment],
        normalize: Normalize,
        drop_last: bool = True,
    ) -> None:
        device = images.targets.device
        super().__init__(
            len(images), images.size, batch_size, viewing, normalize, device, drop_last
        )
        self.images = images

    def fetch(self, ids: Tensor) -> Images:
        """Return the images with these ids (M,), as they are."""
        return self.images[to_device(ids, self.device)]


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
