"""Neuron selectivity transfer (Huang and Wang 2017, arXiv:1707.01219)."""

from typing import ClassVar

from torch import Tensor

from potstill.heads.base import Head, Layers
from potstill.heads.common.adapters import (
    each_pair,
    map_pairs,
    match_size,
    need_layers,
    need_positions,
    unit,
)
from potstill.heads.common.schedules import Schedule
from potstill.models.features.outputs import ModelOutputs


def _kernel(first: Tensor, second: Tensor) -> Tensor:
    """Return the mean of the squared inner products of all neurons: (N, C, L), (N, K, L) -> ()."""
    return (first @ second.mT).square().mean()


def selectivity_loss(student: Tensor, teacher: Tensor) -> Tensor:
    """Return the squared maximum mean discrepancy of two layers' neurons, averaged over the batch.

    A neuron is a channel's map of unit length, the kernel is the square of the inner product.
    Features are (N, C, H, W) of any widths; the larger map is averaged down to the smaller.

    Example:
        >>> from torch import eye
        >>> neurons = eye(2).view(1, 2, 1, 2)
        >>> selectivity_loss(neurons, neurons), selectivity_loss(neurons, neurons[:, :1])
        (tensor(0.), tensor(0.5000))
    """
    student, teacher = match_size(student, teacher)
    ours, theirs = unit(student.flatten(2)), unit(teacher.flatten(2))  # (N, C_s, L), (N, C_t, L)
    return _kernel(ours, ours) + _kernel(theirs, theirs) - 2 * _kernel(ours, theirs)


class NST(Head):
    """Match the distributions of the neurons' selectivity, summed over pairs of layers."""

    kind: ClassVar[str] = "feature"
    default_weight: ClassVar[float] = 50.0

    def __init__(
        self,
        student: Layers = ("level-3", "level-2", "level-1"),
        teacher: Layers = ("level-3", "level-2", "level-1"),
        weight: float | Schedule | None = None,
    ) -> None:
        super().__init__(weight, student, teacher)
        need_layers(self)

    def bind(self, student: ModelOutputs, teacher: ModelOutputs) -> None:
        """Check that each pair has a map in common; there is nothing to build."""
        each_pair(self, student, teacher, need_positions)

    def forward(self, student: ModelOutputs, teacher: ModelOutputs, target: Tensor) -> Tensor:
        """Return the sum of the pairs' discrepancies, a scalar."""
        maps = map_pairs(self, student, teacher)
        losses = [selectivity_loss(ours, theirs) for ours, theirs in maps]
        return sum(losses[1:], losses[0])
