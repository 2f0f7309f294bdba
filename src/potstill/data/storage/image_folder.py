"""Class folders of images, checked against the expected classes and counts."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from potstill.data.class_names import check_names
from potstill.data.storage.decode import read_image
from potstill.errors import DataError

SUFFIXES = (".jpeg", ".jpg", ".png", ".webp", ".bmp")


@dataclass(frozen=True)
class Files:
    """A split: file names and targets (N,) int64, in the order of the sample ids.

    `names` are bytes relative to `root`, in one array: a list of a million strings would be
    copied bit by bit into every worker as its reference counts change.
    """

    root: Path
    names: np.ndarray  # (N,) bytes
    sizes: Tensor  # (N,) int64, in bytes
    targets: Tensor

    def __len__(self) -> int:
        return len(self.targets)

    def __getitem__(self, sample_id: Tensor) -> "Files":
        """Return the files with these ids (M,)."""
        names = self.names[sample_id.numpy()]
        return Files(self.root, names, self.sizes[sample_id], self.targets[sample_id])

    def identity(self) -> tuple[Any, ...]:
        """Return the identity of these files: names, sizes and targets."""
        return self.names.tobytes(), self.sizes, self.targets

    def path(self, sample_id: int) -> Path:
        """Return the path of one file."""
        return self.root / os.fsdecode(self.names[sample_id])

    def image(self, sample_id: int, max_pixels: int) -> Tensor:
        """Return one image, (3, H, W) uint8; see `read_image`."""
        return read_image(self.path(sample_id), max_pixels)


def class_folders(folder: Path) -> tuple[str, ...]:
    """Return the sorted names of the folders in `folder`.

    Raises:
        DataError: where there is no such folder, or one in it is hidden or has a name that is
            not one line of text.
    """
    if not folder.is_dir():
        raise DataError(
            f"data.root={folder.parent}: there is no folder {folder.name} with one folder a class. "
            "Fix: data.root=FOLDER that holds train/CLASS/*.JPEG and val/CLASS/*.JPEG"
        )
    names = sorted(entry.name for entry in os.scandir(folder) if entry.is_dir())
    hidden = [name for name in names if name.startswith(".")]
    if hidden:
        raise DataError(
            f"data.root={folder.parent}: {folder / hidden[0]} is no class. Fix: remove it"
        )
    check_names(names, f"data.root={folder.parent}: {folder.name}")
    return tuple(names)


def check_classes(folder: Path, class_names: Sequence[str]) -> None:
    """Raise where the folders in `folder` are not exactly `class_names`."""
    found = class_folders(folder)
    missing, stray = set(class_names) - set(found), set(found) - set(class_names)
    if missing:
        raise DataError(
            f"data.root={folder.parent}: {folder / min(missing)} is missing"
            f"{_and_more(missing)}. Fix: add it, or take the class out everywhere"
        )
    if stray:
        raise DataError(
            f"data.root={folder.parent}: {folder / min(stray)} is none of the "
            f"{len(class_names)} classes{_and_more(stray)}. Fix: remove it"
        )


def find_files(root: Path, part: str, class_names: Sequence[str]) -> Files:
    """Return the images in `root/part/CLASS/` for each class, by class and then by name."""
    names: list[bytes] = []
    sizes, counts = [], []
    for class_name in class_names:
        found = _images(root / part / class_name)
        names += [os.fsencode(f"{part}/{class_name}/{entry.name}") for entry in found]
        sizes += [entry.stat().st_size for entry in found]
        counts.append(len(found))
    targets = torch.arange(len(counts)).repeat_interleave(torch.tensor(counts))
    return Files(root, np.array(names), torch.tensor(sizes), targets)


def _images(folder: Path) -> list[os.DirEntry[str]]:
    found = [
        entry
        for entry in os.scandir(folder)
        if entry.name.lower().endswith(SUFFIXES) and not entry.name.startswith(".")
    ]
    for entry in found:
        if not entry.is_file():  # nor is it opened: a pipe would be waited for
            raise DataError(
                f"data.root={folder.parent.parent}: {entry.path!a} is no file, or a link to none. "
                "Fix: remove it"
            )
    if not found:
        raise DataError(
            f"data.root={folder.parent.parent}: {folder} holds no image "
            f"({', '.join(SUFFIXES)}). Fix: fill it, or take the class out everywhere"
        )
    return sorted(found, key=lambda entry: entry.name)


def _and_more(names: set[str]) -> str:
    return f" (and {len(names) - 1} more)" if len(names) > 1 else ""
