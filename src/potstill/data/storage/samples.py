"""Samples of any map-style Dataset of (image, label): converted, checked and fingerprinted."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from operator import index
from typing import Any

import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import Dataset

from potstill.data.storage.decode import to_rgb
from potstill.errors import ConfigError, DataError

HASHED = 1024  # samples, evenly spaced; all labels are hashed as well
REPEATED = 4  # of them are read twice


@dataclass(frozen=True)
class Samples:
    """A split: positions (N,) int64 in a dataset and targets (N,) int64, by sample id.

    Attributes:
        key: the setting that gives the dataset, for messages.
        fingerprint: of the dataset.
        side: of the images, in pixels.
        dtype: of the images as the dataset gives them, uint8 or float32.
    """

    dataset: Dataset[Any]
    key: str
    fingerprint: str
    side: int
    dtype: torch.dtype
    positions: Tensor
    targets: Tensor

    def __len__(self) -> int:
        return len(self.targets)

    def __getitem__(self, sample_id: Tensor) -> "Samples":
        """Return the samples with these ids (M,)."""
        return replace(self, positions=self.positions[sample_id], targets=self.targets[sample_id])

    @property
    def size(self) -> tuple[int, int]:
        """Height and width, in pixels."""
        return self.side, self.side

    def identity(self) -> tuple[Any, ...]:
        """Return what tells these samples from others."""
        return self.fingerprint, self.positions, self.targets

    def images(self, ids: Sequence[int]) -> Tensor:
        """Return the images with these ids, (M, 3, side, side).

        Raises:
            DataError: if one cannot be read, or is not like the others.
        """
        return torch.stack([self._image(int(self.positions[one])) for one in ids])

    def _image(self, position: int) -> Tensor:
        image, _ = read_sample(self.dataset, position, self.key)
        if image.shape != (3, self.side, self.side) or image.dtype != self.dtype:
            height, width = image.shape[1:]
            raise DataError(
                f"{self.key}[{position}]: {height}x{width} {image.dtype}, not {self.side}x"
                f"{self.side} {self.dtype}. Fix: data.image_size={height}, or a transform"
            )
        return image


def open_samples(dataset: Any, key: str, side: int, num_classes: int) -> Samples:
    """Return all samples of a dataset, after some were read and all labels were checked.

    Args:
        dataset: map-style, of (image, label); `targets` or `labels`, where it has them, are
            taken for its labels, and a string `fingerprint` for its identity.
        key: the setting that gives it.
        side: of its images, in pixels.
        num_classes: labels are below it.

    Raises:
        ConfigError: if it is not map-style, or gives other images each time.
        DataError: if it is empty, or a sample is no image with a label.
    """
    if not hasattr(dataset, "__getitem__") or not hasattr(dataset, "__len__"):
        raise ConfigError(
            f"{key}: {type(dataset).__name__} has no samples by number. "
            "Fix: a map-style Dataset, with __len__ and __getitem__"
        )
    if not len(dataset):
        raise DataError(f"{key}: {type(dataset).__name__} is empty. Fix: a dataset of images")
    own = getattr(dataset, "fingerprint", None)
    step = max(len(dataset) // (REPEATED if isinstance(own, str) else HASHED), 1)
    positions = range(0, len(dataset), step)
    read = {position: read_sample(dataset, position, key) for position in positions}
    _check_repeats(dataset, key, list(read.items())[:REPEATED])
    targets = _targets(dataset, key, {position: label for position, (_, label) in read.items()})
    _check_range(targets, key, num_classes)
    images = [image for image, _ in read.values()]
    found = own if isinstance(own, str) else _digest(len(dataset), images)
    everything = torch.arange(len(dataset))
    samples = Samples(dataset, key, found, side, images[0].dtype, everything, targets)
    samples.images([0])  # its size is checked
    return samples


def read_sample(dataset: Any, position: int, key: str) -> tuple[Tensor, int]:
    """Return the image (3, H, W), uint8 or float32, and the label of one sample.

    Raises:
        DataError: if it cannot be read, or is something else.
    """
    try:
        image, label, *_ = dataset[position]
        return as_image(image), index(label)
    except Exception as error:
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        raise DataError(f"{key}[{position}]: {reason}. Fix: an image and its label") from error


def as_image(value: Any) -> Tensor:
    """Return an image of Pillow, or a tensor (H, W), (1, H, W) or (3, H, W), as (3, H, W).

    Bytes stay bytes, other numbers become float32; a grey image has three equal channels.

    >>> as_image(torch.zeros(2, 2, dtype=torch.float64)).dtype, as_image(torch.zeros(2, 2)).shape
    (torch.float32, torch.Size([3, 2, 2]))
    """
    if isinstance(value, Image.Image):
        return torch.from_numpy(to_rgb(value)).permute(2, 0, 1)
    if not isinstance(value, Tensor):
        raise TypeError(f"the image is a {type(value).__name__}, neither a tensor nor of Pillow")
    image = value[None] if value.ndim == 2 else value
    if image.ndim != 3 or image.shape[0] not in (1, 3):
        raise ValueError(f"the image has the shape {tuple(value.shape)}, not (3, H, W)")
    if image.dtype != torch.uint8 and not image.is_floating_point():
        raise ValueError(f"the image is of {image.dtype}, neither bytes nor floats")
    return image.expand(3, -1, -1).to(torch.uint8 if image.dtype == torch.uint8 else torch.float32)


def _check_repeats(dataset: Any, key: str, read: Sequence[tuple[int, tuple[Tensor, int]]]) -> None:
    for position, (image, label) in read:
        again, same = read_sample(dataset, position, key)
        if label != same or not torch.equal(image, again):
            raise ConfigError(
                f"{key}[{position}]: is another image each time it is read, so that no run could "
                "be resumed. Fix: fixed transforms; data.flip, data.randaugment, ... augment"
            )


def _targets(dataset: Any, key: str, known: dict[int, int]) -> Tensor:
    """Return all labels (N,): those it lists, if they are those of its samples, or each read."""
    for name in ("targets", "labels"):
        listed = getattr(dataset, name, None)
        try:
            targets = torch.as_tensor(listed)
        except (TypeError, ValueError, RuntimeError):
            continue
        fits = targets.shape == (len(dataset),) and not targets.is_floating_point()
        if fits and all(targets[position] == label for position, label in known.items()):
            return targets.long()
    everyone = range(len(dataset))
    return torch.tensor(
        [known[one] if one in known else read_sample(dataset, one, key)[1] for one in everyone]
    )


def _check_range(targets: Tensor, key: str, num_classes: int) -> None:
    wrong = ((targets < 0) | (targets >= num_classes)).nonzero()
    if len(wrong):
        position, label = int(wrong[0]), int(targets[wrong[0]])
        raise DataError(
            f"{key}[{position}]: label {label}, with data.num_classes={num_classes}. "
            f"Fix: labels from 0 to {num_classes - 1}"
        )


def _digest(count: int, images: Sequence[Tensor]) -> str:
    digest = hashlib.sha256(str(count).encode())
    for image in images:
        digest.update(f"{tuple(image.shape)} {image.dtype}".encode())
        digest.update(image.contiguous().numpy().data)
    return digest.hexdigest()
