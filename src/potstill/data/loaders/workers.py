"""Loader of image files, decoded and augmented by worker processes."""

import socket
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from multiprocessing.util import get_temp_dir
from pathlib import Path
from tempfile import gettempdir
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from potstill.data.loaders.epoch_order import EpochLoader, eval_batches
from potstill.data.loaders.in_memory import Batch, Normalize, Views
from potstill.data.loaders.transfer import to_device
from potstill.data.loaders.views import Viewing
from potstill.data.storage.image_folder import Files
from potstill.data.transforms.mixup import Mixture
from potstill.data.transforms.random_crop import CentreCrop, RandomCrop
from potstill.errors import ConfigError, DataError, StorageError
from potstill.libraries.torch import end_workers

Key = tuple[int, int]  # (epoch, sample id)
Bytes = tuple[Tensor, ...]  # each view's images (N, 3, H, W) uint8


@dataclass(frozen=True)
class Workers:
    """How files are read: processes, the largest image, the device batches go to.

    `prefetch` is how many batches each process reads ahead; torch's 2 where it is None.
    """

    count: int
    max_pixels: int
    device: torch.device
    prefetch: int | None = None

    def loader(self, dataset: Dataset[Any], keys: Iterable[list[Any]]) -> DataLoader[Any]:
        """Return a loader that fetches each list of keys from `dataset`, in order.

        Raises:
            StorageError: if worker processes could not hand over what they read.
        """
        if self.count:
            check_sockets()
        return DataLoader(
            dataset,
            batch_sampler=keys,
            num_workers=self.count,
            collate_fn=_as_it_is,
            pin_memory=self.device.type == "cuda",
            persistent_workers=self.count > 0,
            prefetch_factor=self.prefetch,
        )


def check_workers(count: int, prefetch: int | None) -> None:
    """Raise where data.num_workers or data.prefetch_factor is impossible, or can do nothing."""
    if count < 0:
        raise ConfigError(f"data.num_workers={count}: too small. Fix: 0 or more")
    if prefetch is not None and (count == 0 or prefetch < 1):
        raise ConfigError(
            f"data.prefetch_factor={prefetch}: must be 1 or more, and does nothing with "
            f"data.num_workers={count}. Fix: data.prefetch_factor=null"
        )


@dataclass(frozen=True)
class FolderDataset(Dataset[Any]):
    """Decoded and cropped images by batches of (epoch, sample id)."""

    files: Files
    crop: RandomCrop | CentreCrop
    max_pixels: int
    views: Iterable[int] = (0,)

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, key: Key) -> Bytes:
        """Return the views of one image, (3, H, W) uint8 each."""
        epoch, sample_id = key
        image = self.files.image(sample_id, self.max_pixels)
        if isinstance(self.crop, CentreCrop):
            return (self.crop(image),)
        return tuple(self.crop(image, sample_id, epoch, view) for view in self.views)

    def read(self, keys: list[Key]) -> Bytes:
        """Return the views of a batch, (N, 3, H, W) uint8 each."""
        return tuple(torch.stack(view) for view in zip(*map(self.__getitem__, keys), strict=True))

    def __getitems__(self, keys: list[Key]) -> Bytes | DataError:
        """Return the views of a batch, or what is wrong with a file of it."""
        # As a value: an exception would leave the worker as a page of traceback in its message.
        try:
            return self.read(keys)
        except DataError as error:
            return error


class Keys:
    """Queue of batches for the workers, refilled each epoch, which they outlive."""

    def __init__(self) -> None:
        self.batches: Iterable[list[Any]] = ()

    def __iter__(self) -> Iterator[list[Any]]:
        return iter(self.batches)


class FolderLoader(EpochLoader):
    """Training batches `(image, target, sample_id)` of files, the same for any worker count.

    image is (N, 3, H, W) float32, or a tuple of `viewing.count` such tensors where that is
    above 1. target is (N,) int64, or (N, K) float32 where images are mixed.
    """

    def __init__(
        self,
        files: Files,
        batch_size: int,
        viewing: Viewing[RandomCrop],
        normalize: Normalize,
        workers: Workers,
        drop_last: bool = True,
    ) -> None:
        super().__init__(len(files), batch_size, viewing.augment.seed, drop_last)
        self.files, self.viewing, self.normalize = files, viewing, normalize
        self.device = workers.device
        self._dataset = FolderDataset(
            files, viewing.augment, workers.max_pixels, range(viewing.count)
        )
        self._keys = Keys()
        self._loader = workers.loader(self._dataset, self._keys)

    def read(self, batches: list[Tensor]) -> Iterator[Batch]:
        """Yield the images of each tensor of ids."""
        epoch = self.epoch
        self._keys.batches = (self._keys_of(sample_id, epoch) for sample_id in batches)
        for sample_id, views in zip(batches, received(self._loader), strict=True):
            images, target = self._finish(sample_id, epoch, views)
            yield (
                images[0] if len(images) == 1 else images,
                target,
                to_device(sample_id, self.device),
            )

    def views(self, sample_id: Tensor, epoch: int, views: Iterable[int]) -> Views:
        """Return the given views of the images with ids (N,), on the CPU, and their targets."""
        dataset = replace(self._dataset, views=views)
        return self._finish(sample_id, epoch, dataset.read(self._keys_of(sample_id, epoch)))

    def _mixture(self, sample_id: Tensor, epoch: int) -> Mixture | None:
        side = self.viewing.augment.image_size
        return self.viewing.mixture(sample_id, epoch, len(self.files), (side, side))

    def _keys_of(self, sample_id: Tensor, epoch: int) -> list[Key]:
        mixture = self._mixture(sample_id, epoch)
        ids = mixture.ids(sample_id) if mixture else sample_id
        return [(self.viewing.epoch(epoch), i) for i in ids.tolist()]

    def _finish(self, sample_id: Tensor, epoch: int, views: Bytes) -> Views:
        images = tuple(self.normalize(to_device(view, self.device)) for view in views)
        # Planned again rather than stored: workers are at later batches by now.
        mixture = self._mixture(sample_id, epoch)
        if mixture is None:
            return images, to_device(self.files.targets[sample_id], self.device)
        targets = mixture.targets(
            to_device(self.files.targets[mixture.ids(sample_id)], self.device)
        )
        return tuple(map(mixture.images, images)), targets


class FolderEvalLoader:
    """Evaluation batches `(image, target, sample_id)`: the middle of every image, in order."""

    def __init__(
        self,
        files: Files,
        batch_size: int,
        crop: CentreCrop,
        normalize: Normalize,
        workers: Workers,
    ) -> None:
        self.files, self.batch_size, self.normalize = files, batch_size, normalize
        self.device = workers.device
        keys = [[(0, i) for i in batch.tolist()] for batch in self._batches()]
        self._loader = workers.loader(FolderDataset(files, crop, workers.max_pixels), keys)

    def _batches(self) -> list[Tensor]:
        return eval_batches(len(self.files), self.batch_size)

    def __len__(self) -> int:
        return len(self._batches())

    def __iter__(self) -> Iterator[Batch]:
        for (image,), sample_id in zip(received(self._loader), self._batches(), strict=True):
            image = self.normalize(to_device(image, self.device))
            target = to_device(self.files.targets[sample_id], self.device)
            yield image, target, to_device(sample_id, self.device)


def received(loader: DataLoader[Any]) -> Iterator[Any]:
    """Yield what the workers read, or raise what was wrong with it."""
    for views in loader:
        if isinstance(views, DataError):
            end_workers(loader)
            raise views
        yield views


def check_sockets() -> None:
    """Raise where worker processes could open no socket: they would hang without a message.

    They pass tensors on through sockets in $TMPDIR, whose paths may have about 100 bytes.
    """
    address = str(Path(get_temp_dir()) / "listener-12345678")  # as long as theirs
    try:
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(address)
        Path(address).unlink()
    except OSError as error:
        raise StorageError(
            f"TMPDIR={gettempdir()}: no place for the sockets of worker processes ({error}). "
            "Fix: TMPDIR=/tmp, or data.num_workers=0"
        ) from error


def _as_it_is(batch: Any) -> Any:
    return batch
