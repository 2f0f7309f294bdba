"""Arrays of images and labels in `.npy` files, checked before they are read."""

from pathlib import Path

import numpy as np

from potstill.errors import DataError


def read_array(path: Path, fix: str) -> np.ndarray:
    """Return the array of a `.npy` file, of which the header is no longer than the file is.

    Args:
        path: of the file.
        fix: for the message.

    Raises:
        DataError: if it cannot be read, holds objects, or claims more than there is.
    """
    try:
        # Mapped first: the header is believed only where the file is as long as it says.
        return np.array(np.load(path, mmap_mode="r", allow_pickle=False))
    except (OSError, ValueError, EOFError, OverflowError, MemoryError, SyntaxError) as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise DataError(
            f"data.root={path.parent}: {path.name} cannot be read ({reason}). Fix: {fix}"
        ) from error


def check_labels(path: Path, labels: np.ndarray, count: int, num_classes: int) -> None:
    """Raise where an array is not one class of several for each of `count` images.

    Raises:
        DataError: with the file, what it holds, and the first label that is wrong.
    """
    is_whole = labels.dtype.kind in "iu"
    if labels.shape != (count,) or not is_whole:
        raise DataError(
            f"data.root={path.parent}: {path.name} holds {labels.dtype} {labels.shape}, not one "
            f"whole number for each of {count} images. Fix: labels of integers (N,)"
        )
    if not count:
        raise DataError(f"data.root={path.parent}: {path.name} is empty. Fix: images and labels")
    wrong = np.flatnonzero((labels < 0) | (labels >= num_classes))
    if len(wrong):
        raise DataError(
            f"data.root={path.parent}: sample {wrong[0]} of {path.name} has label "
            f"{labels[wrong[0]]}, outside 0 .. {num_classes - 1}. Fix: data.num_classes or the file"
        )
    if count > 1 and (labels == labels[0]).all():
        raise DataError(
            f"data.root={path.parent}: all labels of {path.name} are {labels[0]}, and one class "
            "cannot be learned. Fix: the file"
        )
