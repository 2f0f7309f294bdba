"""Channel labels: one number for each index of each parameter dimension, and what ties them."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

FIXED = 0  # the label of everything that cannot be removed


@dataclass(frozen=True)
class Statistic:
    """A dimension that is one number for all: left by a mean or a variance over `labels`.

    Over fewer channels it is another number, which is right where a norm applies it to those very
    channels again, and nowhere else. Without labels it is any number that was expanded.
    """

    labels: Tensor


ONE = Statistic(torch.tensor([], dtype=torch.long))
Axis = Tensor | Statistic | None  # (size,) labels; None for a dimension without channels
Axes = tuple[Axis, ...]


class Labels:
    """Labels and the ties between them; tied labels are removed together or not at all.

    Attributes:
        count: how many there are.
        read: vectors of labels that a layer sums over; no other can leave the outputs as they are.
    """

    def __init__(self) -> None:
        self.count = 1
        self.read: list[Tensor] = []
        self._ties: list[tuple[Tensor, Tensor]] = []

    def fresh(self, size: int) -> Tensor:
        """Return `size` labels that nothing is tied to yet."""
        self.count += size
        return torch.arange(self.count - size, self.count)

    def tie(self, first: Tensor, second: Tensor) -> None:
        """Tie two vectors entry by entry; broadcasting ties one to many."""
        if first is not second:
            first, second = torch.broadcast_tensors(first, second)
            self._ties.append((first.flatten(), second.flatten()))

    def fix(self, *axes: Axis) -> None:
        """Mark channels as not removable."""
        for axis in axes:
            labels = axis.labels if isinstance(axis, Statistic) else axis
            if labels is not None:
                self.tie(labels, torch.tensor(FIXED))

    def join(self, axes: Sequence[Axis]) -> Axis:
        """Return what one dimension of equal size holds when tensors are combined by element."""
        vectors = [axis for axis in axes if isinstance(axis, Tensor)]
        statistics = [axis for axis in axes if isinstance(axis, Statistic)]
        statistics.sort(key=lambda statistic: -len(statistic.labels))
        first = vectors[0] if vectors else statistics[0].labels if statistics else None
        if first is None:
            return None
        for other in (*vectors, *(statistic.labels for statistic in statistics)):
            if not len(other):
                continue
            if other.shape != first.shape:
                self.fix(first, other)
            else:
                self.tie(first, other)
        if any(axis is None for axis in axes):
            self.fix(first)
        return first if vectors else statistics[0]

    def classes(self) -> Tensor:
        """Return for each label the smallest one that it is tied to, (count,)."""
        parent = torch.arange(self.count)
        if not self._ties:
            return parent
        left, right = (torch.cat(side) for side in zip(*self._ties, strict=True))
        while not torch.equal(a := parent[left], b := parent[right]):
            parent.scatter_reduce_(0, torch.maximum(a, b), torch.minimum(a, b), "amin")
            while not torch.equal(parent, above := parent[parent]):
                parent = above
        return parent
