"""CIFAR-10 and CIFAR-100 (Krizhevsky 2009), read from plain arrays, downloaded where absent."""

import os
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch

from potstill.config.ranges import Ranges
from potstill.data.array_data import ArrayData
from potstill.data.loaders.in_memory import Images
from potstill.data.storage.arrays import check_labels, read_array
from potstill.errors import ConfigError, DataError

CIFAR10_NAMES = (
    *("airplane", "automobile", "bird", "cat", "deer"),
    *("dog", "frog", "horse", "ship", "truck"),
)
ARRAYS = tuple(f"{part}_{what}" for part in ("train", "test") for what in ("images", "labels"))


class CIFAR(ArrayData):
    """50,000 training and 10,000 test images of 32x32 pixels.

    Args:
        root: folder of `{train,test}_{images,labels}.npy`: uint8 (N, 32, 32, 3) and labels (N,).
            Where they are absent, torchvision downloads the set and they are written there.
        num_classes: 10 or 100.
        image_size: 32.
        settings: see `ArrayData`.
    """

    ranges: ClassVar[Ranges] = {
        "root": "not empty",
        "num_classes": (10, 100),
        "image_size": (32,),
    }

    num_classes: int
    # Read from source: a config file may name a folder of downloads only where nothing is written.
    downloads_to = "root"
    downloaded = "test_labels.npy"

    def __init__(
        self, root: str, num_classes: int = 10, image_size: int = 32, **settings: Any
    ) -> None:
        if num_classes not in (10, 100):
            raise ConfigError(f"data.num_classes={num_classes}: no such CIFAR. Fix: 10 or 100")
        if image_size != 32:
            raise ConfigError(f"data.image_size={image_size}: CIFAR's images are 32x32. Fix: 32")
        super().__init__(num_classes=num_classes, image_size=image_size, **settings)
        self.root = Path(root)
        self.class_names = CIFAR10_NAMES if num_classes == 10 else CIFAR100_NAMES

    def prepare_data(self) -> None:
        """Make sure the arrays are there; download them where they are not."""
        missing = [name for name in ARRAYS if not self._path(name).is_file()]
        if missing:
            self._download(missing)

    def load(self) -> tuple[Images, Images]:
        """Return the official (training, test) images."""
        self.prepare_data()
        return self._read("train"), self._read("test")

    def _path(self, name: str) -> Path:
        return self.root / f"{name}.npy"

    def _read(self, part: str) -> Images:
        paths = self._path(f"{part}_images"), self._path(f"{part}_labels")
        images, labels = (read_array(path, "delete it, and it is rebuilt") for path in paths)
        _check_images(paths[0], images)
        check_labels(paths[1], labels, len(images), self.num_classes)
        return Images(
            torch.from_numpy(images).permute(0, 3, 1, 2).contiguous(),
            torch.from_numpy(labels.astype(np.int64)),
        )

    def _download(self, missing: list[str]) -> None:
        from torchvision.datasets import CIFAR10, CIFAR100  # slow to import, seldom needed

        source = CIFAR10 if self.num_classes == 10 else CIFAR100
        try:
            self.root.mkdir(parents=True, exist_ok=True)
            for part in ("train", "test"):
                split = source(self.root, train=part == "train", download=True)
                _save(self._path(f"{part}_images"), np.asarray(split.data))
                _save(self._path(f"{part}_labels"), np.asarray(split.targets, dtype=np.uint8))
        except (OSError, RuntimeError) as error:
            raise DataError(
                f"data.root={self.root}: no {', '.join(f'{name}.npy' for name in missing)}, and "
                f"torchvision could not download the set ({error}). Fix: a data.root that holds "
                "these arrays, or a machine with network"
            ) from error


def _save(path: Path, array: np.ndarray) -> None:
    """Write to a file beside `path` and rename it, so that no half file ever has the name."""
    partial = path.with_name(f"{path.name}.{os.getpid()}.partial")
    with partial.open("wb") as file:
        np.save(file, array)
    partial.replace(path)


def _check_images(path: Path, images: np.ndarray) -> None:
    if images.dtype != np.uint8 or images.ndim != 4 or images.shape[1:] != (32, 32, 3):
        raise DataError(
            f"data.root={path.parent}: {path.name} is {images.dtype} {images.shape}, not uint8 "
            "(N, 32, 32, 3). Fix: delete the arrays, and they are rebuilt"
        )


CIFAR100_NAMES = (
    *("apple", "aquarium_fish", "baby", "bear", "beaver", "bed", "bee", "beetle", "bicycle"),
    *("bottle", "bowl", "boy", "bridge", "bus", "butterfly", "camel", "can", "castle"),
    *("caterpillar", "cattle", "chair", "chimpanzee", "clock", "cloud", "cockroach", "couch"),
    *("crab", "crocodile", "cup", "dinosaur", "dolphin", "elephant", "flatfish", "forest", "fox"),
    *("girl", "hamster", "house", "kangaroo", "keyboard", "lamp", "lawn_mower", "leopard", "lion"),
    *("lizard", "lobster", "man", "maple_tree", "motorcycle", "mountain", "mouse", "mushroom"),
    *("oak_tree", "orange", "orchid", "otter", "palm_tree", "pear", "pickup_truck", "pine_tree"),
    *("plain", "plate", "poppy", "porcupine", "possum", "rabbit", "raccoon", "ray", "road"),
    *("rocket", "rose", "sea", "seal", "shark", "shrew", "skunk", "skyscraper", "snail", "snake"),
    *("spider", "squirrel", "streetcar", "sunflower", "sweet_pepper", "table", "tank"),
    *("telephone", "television", "tiger", "tractor", "train", "trout", "tulip", "turtle"),
    *("wardrobe", "whale", "willow_tree", "wolf", "woman", "worm"),
)
