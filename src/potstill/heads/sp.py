"""Similarity-preserving distillation (Tung and Mori 2019, arXiv:1907.09682)."""

from typing import ClassVar

from torch import Tensor

from potstill.heads.base import Head, Layers
from potstill.heads.common.adapters import need_layers, unit
from potstill.heads.common.gather import gather
from potstill.heads.common.schedules import Schedule
from potstill.models.features.outputs import ModelOutputs


def similarity(feature: Tensor) -> Tensor:
    """Return the Gram matrix of the samples with rows of unit length: (N, ...) -> (N, N).

    Example:
        >>> from torch import tensor
        >>> similarity(tensor([[1.0, 0.0], [0.0, 2.0]]))
        tensor([[1., 0.],
                [0., 1.]])
    """
    flat = feature.flatten(1)
    return unit(flat @ flat.T)


def similarity_loss(student: Tensor, teacher: Tensor) -> Tensor:
    """Return the squared difference of two similarity matrices, averaged over the N^2 pairs.

    Features are (N, ...); widths and resolutions may differ.
    """
    return (similarity(student) - similarity(teacher)).square().mean()


class SP(Head):
    """Match which samples of the batch, over all processes, activate a layer alike."""

    kind: ClassVar[str] = "relation"
    default_weight: ClassVar[float] = 3000.0

    def __init__(
        self,
        student: Layers = "level-1",
        teacher: Layers = "level-1",
        weight: float | Schedule | None = None,
    ) -> None:
        super().__init__(weight, student, teacher)
        need_layers(self)

    def forward(self, student: ModelOutputs, teacher: ModelOutputs, target: Tensor) -> Tensor:
        """Return the sum of the pairs' similarity losses, a scalar."""
        losses = [
            similarity_loss(gather(ours), gather(theirs))
            for ours, theirs in self.features(student, teacher)
        ]
        return sum(losses[1:], losses[0])
