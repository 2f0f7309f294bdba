"""Confusion tables and per-class losses of a page, from counts."""

import base64
import io
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from matplotlib.image import imsave

from potstill.measure.confusion import Confusion

MAX_TABLE = 20  # classes that fit on a page as a table of numbers
MAX_PIXELS = 500  # of an image's side: with more classes some share a pixel
BLUE = (0.22, 0.52, 0.82)  # on white and on near-black


class Mistake(NamedTuple):
    """`images` of class `true`, which has `support`, were taken for `predicted`."""

    true: str
    predicted: str
    images: int
    support: int


class Lost(NamedTuple):
    """The accuracy on one class of a reference and of the network, and its test images."""

    name: str
    before: float
    after: float
    support: int

    @property
    def points(self) -> float:
        """How many points of accuracy it gained; negative where it lost."""
        return 100 * (self.after - self.before)


def most_confused(confusion: Confusion, names: Sequence[str], most: int = 10) -> list[Mistake]:
    """Return the most frequent mistakes; `names` are those of the K classes."""
    pairs = zip(confusion.true, confusion.predicted, confusion.images, strict=True)
    return [
        Mistake(names[true], names[predicted], images, confusion.support[true])
        for true, predicted, images in list(pairs)[:most]
    ]


def lost_most(
    before: Sequence[float | None],
    after: Sequence[float | None],
    support: Sequence[int],
    names: Sequence[str],
    most: int = 10,
) -> list[Lost]:
    """Return the classes whose accuracy fell, the worst first."""
    classes = [
        Lost(name, old, new, count)
        for name, old, new, count in zip(names, before, after, support, strict=True)
        if old is not None and new is not None and new < old
    ]
    return sorted(classes, key=lambda found: found.points)[:most]


def shares(counts: np.ndarray) -> np.ndarray:
    """Return (K, K) counts as fractions of each row, 0 for one without images.

    Example:
        >>> shares(np.array([[3, 1], [0, 0]])).tolist()
        [[0.75, 0.25], [0.0, 0.0]]
    """
    total = counts.sum(axis=1, keepdims=True)
    return np.divide(counts, total, out=np.zeros(counts.shape), where=total > 0)


def heat_map(confusion: Confusion) -> str:
    """Return the fractions as the data URI of an image, clear where 0.

    A pixel is a cell, or several that are neighbours where there are too many.
    """
    found = shares(confusion.matrix(MAX_PIXELS))
    pixels = np.empty((*found.shape, 4))
    pixels[..., :3] = BLUE
    # By the square root, or mistakes of a few percent are as clear as none.
    pixels[..., 3] = np.sqrt(found)
    buffer = io.BytesIO()
    imsave(buffer, pixels, format="png")
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()
