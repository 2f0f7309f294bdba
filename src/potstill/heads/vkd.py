"""Orthogonal projection to the normalised teacher (VkD, Miles et al. 2024, arXiv:2403.06213)."""

from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.parametrizations import orthogonal

from potstill.heads.base import Head, Layers
from potstill.heads.common.adapters import Adapters, need_layers
from potstill.heads.common.schedules import Schedule
from potstill.heads.common.shapes import to_pooled
from potstill.models.features.outputs import ModelOutputs


def normalised_difference(projected: Tensor, teacher: Tensor) -> Tensor:
    """Return smooth L1 of (N, D) to the teacher's vectors, each with mean 0 and variance 1.

    Example:
        >>> from torch import tensor
        >>> normalised_difference(tensor([[-1.0, 3.0]]), tensor([[0.0, 4.0]]))
        tensor(0.7500)
    """
    return F.smooth_l1_loss(projected, F.layer_norm(teacher, teacher.shape[1:]))


class VkD(Head):
    """Match the teacher's normalised pooled feature through a projection that keeps distances.

    The projection is a linear layer without bias whose matrix is orthogonal, of the larger size
    of both features along one side.

    Args:
        student: layer of the student, averaged over its positions.
        teacher: layer of the teacher, averaged over its positions.
        weight: a number, a schedule, or None for 1.
    """

    kind: ClassVar[str] = "feature"

    def __init__(
        self,
        student: Layers = "pooled",
        teacher: Layers = "pooled",
        weight: float | Schedule | None = None,
    ) -> None:
        super().__init__(weight, student, teacher)
        need_layers(self)
        self.adapters = Adapters()

    def bind(self, student: ModelOutputs, teacher: ModelOutputs) -> None:
        """Build the projection of each pair."""
        self.adapters.bind(
            self,
            student,
            teacher,
            lambda ours, theirs: orthogonal(nn.Linear(ours[0], theirs[0], bias=False)),
        )

    def forward(self, student: ModelOutputs, teacher: ModelOutputs, target: Tensor) -> Tensor:
        """Return the sum of the pairs' losses, a scalar."""
        losses = [
            normalised_difference(project(to_pooled(ours)), to_pooled(theirs))
            for project, (ours, theirs) in zip(
                self.adapters, self.features(student, teacher), strict=True
            )
        ]
        return torch.stack(losses).sum()
