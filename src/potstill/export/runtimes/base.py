"""Interface of runtimes: a file in, a callable from images to logits out."""

from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from potstill.errors import DataError


class Runtime(Protocol):
    """A callable that runs one exported file on images."""

    name: str

    def __call__(self, images: Tensor | np.ndarray) -> Tensor:
        """Return logits (N, K) float32 of images (N, C, H, W), preprocessed as in training."""


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
