"""Interface of runtimes: a file in, a callable from images to logits out."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from potstill.errors import DataError
from potstill.integrity.facts import check_facts
from potstill.integrity.sealed import unseal


class Runtime:
    """A callable that runs one exported file on images.

    A subclass defines `__call__`, and a constructor from a path and a number of threads. The rest
    is for `potstill measure`, and may stay as it is.

    Class attributes:
        name: in tables.

    Attributes:
        network: where PyTorch computes it; None in other engines.
    """

    name: ClassVar[str]
    network: nn.Module | None = None

    def __init__(self, path: Path, threads: int = 1) -> None:
        raise NotImplementedError

    def __call__(self, images: Tensor | np.ndarray) -> Tensor:
        """Return logits (N, K) float32 of images (N, C, H, W), preprocessed as in training."""
        raise NotImplementedError

    def bind(self, images: Tensor) -> Callable[[], Any]:
        """Return the engine's own call on images (N, C, H, W) and nothing else, for the clock."""
        return lambda: self(images)

    @property
    def facts(self) -> Mapping[str, Any]:
        """The facts written into the file: `mean`, `std`, `image_shape`, `class_names`."""
        return {}

    @classmethod
    def files(cls, path: Path) -> tuple[Path, ...]:
        """Return all files that one at `path` needs, itself among them."""
        return (path,)

    @classmethod
    def import_library(cls) -> None:
        """Import what opening a file needs, so that its memory is not taken for the file's."""


def as_images(images: Tensor | np.ndarray) -> Tensor:
    """Return images (N, C, H, W) float32, channels first in memory too, on the CPU."""
    return torch.as_tensor(images).detach().to("cpu", torch.float32).contiguous()


def check_file(path: str | Path) -> Path:
    """Return the path of a file that is there.

    Raises:
        DataError: if it is not.
    """
    file = Path(path).expanduser()
    if not file.is_file():
        raise DataError(f"path={path}: no such file. Fix: a file that was exported")
    return file


def parsed(text: str, path: Path) -> dict[str, Any]:
    """Return what `describe_file` wrote into a file; nothing where there is no text.

    Raises:
        DataError: if it is damaged, or was never written by this project.
    """
    if not text:
        return {}
    found: dict[str, Any] = unseal(text, path, fix="export it again")
    check_facts(found, str(path))
    return found
