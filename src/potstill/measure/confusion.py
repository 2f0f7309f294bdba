"""Confusion counts of a classifier, sparse: by class, and by pair of classes that it mistakes."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

MAX_PAIRS = 50_000  # about 1 MB of JSON


@dataclass(frozen=True)
class Confusion:
    """What became of the images of each class; its size grows with classes, not their square.

    Attributes:
        support: (K) images of each true class.
        correct: (K) those of them that were recognised.
        true: (P) the true class of each mistaken pair, the most frequent pair first.
        predicted: (P) the class it was taken for.
        images: (P) how many were.
        left_out: images mistaken in pairs beyond these.
    """

    support: Sequence[int]
    correct: Sequence[int]
    true: Sequence[int] = ()
    predicted: Sequence[int] = ()
    images: Sequence[int] = ()
    left_out: int = 0

    @property
    def num_classes(self) -> int:
        """K."""
        return len(self.support)

    @property
    def num_images(self) -> int:
        """How many images were tested."""
        return sum(self.support)

    def matrix(self, most: int | None = None) -> np.ndarray:
        """Return the (B, B) counts, a row for each true class, a column for each predicted one.

        Args:
            most: rows and columns at most; neighbouring classes share one. K, where None.

        >>> Confusion([4, 4], [3, 4], [0], [1], [1]).matrix().tolist()
        [[3, 1], [0, 4]]
        """
        step = group(self.num_classes, most)
        side = -(-self.num_classes // step)
        counts = np.zeros((side, side), dtype=np.int64)
        same = np.arange(self.num_classes) // step
        np.add.at(counts, (same, same), np.asarray(self.correct, dtype=np.int64))
        pairs = tuple(np.asarray(kind, dtype=int) // step for kind in (self.true, self.predicted))
        np.add.at(counts, pairs, np.asarray(self.images, dtype=np.int64))
        return counts


def group(num_classes: int, most: int | None) -> int:
    """Return how many classes share a row where there are `most` rows.

    >>> group(20, 50), group(4000, 500), group(1001, 500)
    (1, 8, 3)
    """
    return 1 if most is None else max(-(-num_classes // most), 1)


def of_matrix(counts: Sequence[Sequence[int]], most: int = MAX_PAIRS) -> Confusion:
    """Return (K, K) counts, a row for each true class, as `Confusion`.

    >>> of_matrix([[3, 1], [0, 4]])
    Confusion(support=[4, 4], correct=[3, 4], true=[0], predicted=[1], images=[1], left_out=0)
    """
    matrix = np.array(counts, dtype=np.int64)
    support, correct = matrix.sum(axis=1).tolist(), matrix.diagonal().tolist()
    np.fill_diagonal(matrix, 0)
    true, predicted = matrix.nonzero()
    return listed(support, correct, (true, predicted, matrix[true, predicted]), most)


def listed(
    support: list[int],
    correct: list[int],
    pairs: tuple[np.ndarray, np.ndarray, np.ndarray],
    most: int = MAX_PAIRS,
) -> Confusion:
    """Return the counts with the `most` most frequent pairs, those of equal counts by class.

    Args:
        support: (K) images of each true class.
        correct: (K) those of them that were recognised.
        pairs: (P) true classes, (P) predicted ones, (P) images, sorted by class.
        most: pairs that are kept.
    """
    images = pairs[2]
    order = np.argsort(-images, kind="stable")[:most]
    true, predicted, kept = (part[order].tolist() for part in pairs)
    return Confusion(support, correct, true, predicted, kept, int(images.sum()) - sum(kept))
