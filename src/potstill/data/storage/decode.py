"""Decoding of one image file to uint8; an unreadable file is named."""

import warnings
from io import BytesIO
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from potstill.errors import DataError


def read_image(path: Path, max_pixels: int, content: bytes | None = None) -> Tensor:
    """Return the image as (3, H, W) uint8 RGB; EXIF orientation is not applied.

    Args:
        path: the file.
        max_pixels: the most it may have.
        content: what is in the file, where it was read already; `path` then only names it.

    Raises:
        DataError: where the file is truncated, no image, or has more than `max_pixels` pixels
            according to its header; nothing is decoded in that case.
    """
    # Pillow, because torchvision's decoders are deprecated since 0.29 and about to be removed.
    source = path if content is None else BytesIO(content)
    try:
        with warnings.catch_warnings():
            # What Pillow would warn of is refused by `max_pixels`, or wanted.
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            with Image.open(source) as image:
                _check_size(path, image.size, max_pixels)
                return torch.from_numpy(to_rgb(image)).permute(2, 0, 1)
    except Image.DecompressionBombError as error:
        raise _too_large(path, "a decompression bomb", max_pixels) from error
    except (OSError, SyntaxError, ValueError) as error:
        shown = repr(str(path) if content is None else source)
        what = str(error).replace(shown, "it").rstrip(".")
        raise DataError(
            f"file={path}: cannot be read as an image ({what}). Fix: replace or remove the file"
        ) from error


def to_rgb(image: Image.Image) -> np.ndarray:
    """Return (H, W, 3) uint8; of 16-bit grey the upper 8 bits, where Pillow would clip."""
    if image.mode.startswith("I"):
        grey = (np.array(image).astype(np.uint16) >> 8).astype(np.uint8)
        return np.repeat(grey[:, :, None], 3, axis=2)
    return np.array(image.convert("RGB"))


def _check_size(path: Path, size: tuple[int, int], max_pixels: int) -> None:
    if size[0] * size[1] > max_pixels:
        raise _too_large(path, f"{size[0]}x{size[1]} pixels", max_pixels)


def _too_large(path: Path, size: str, max_pixels: int) -> DataError:
    return DataError(
        f"file={path}: {size}, more than data.max_pixels={max_pixels}. "
        "Fix: remove the file, or raise data.max_pixels"
    )
