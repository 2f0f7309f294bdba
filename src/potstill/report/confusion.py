"""Confusion tables and per-class losses, from counts."""

import base64
import io
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from matplotlib.image import imsave

MAX_TABLE = 20  # classes that fit on a page as a table of numbers
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


def most_confused(
    confusion: Sequence[Sequence[int]], names: Sequence[str], most: int = 10
) -> list[Mistake]:
    """Return the most frequent mistakes of (K, K) counts, a row for each true class."""
    counts = np.array(confusion)
    support = counts.sum(axis=1)
    np.fill_diagonal(counts, 0)
    order = np.argsort(-counts, axis=None, kind="stable")[:most]
    places = zip(*np.unravel_index(order, counts.shape), strict=True)
    return [
        Mistake(names[row], names[column], int(counts[row, column]), int(support[row]))
        for row, column in places
        if counts[row, column] > 0
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


def shares(confusion: Sequence[Sequence[int]]) -> list[list[float]]:
    """Return (K, K) counts as fractions of each true class, 0 for one without images.

    Example:
        >>> shares([[3, 1], [0, 0]])
        [[0.75, 0.25], [0.0, 0.0]]
    """
    return _shares(confusion).tolist()


def heat_map(confusion: Sequence[Sequence[int]]) -> str:
    """Return the fractions as the data URI of an image, a pixel a cell, clear where 0."""
    pixels = np.empty((len(confusion), len(confusion), 4))
    pixels[..., :3] = BLUE
    # By the square root, or mistakes of a few percent are as clear as none.
    pixels[..., 3] = np.sqrt(_shares(confusion))
    buffer = io.BytesIO()
    imsave(buffer, pixels, format="png")
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()


def _shares(confusion: Sequence[Sequence[int]]) -> np.ndarray:
    counts = np.array(confusion, dtype=float)
    total = counts.sum(axis=1, keepdims=True)
    return np.divide(counts, total, out=np.zeros_like(counts), where=total > 0)
