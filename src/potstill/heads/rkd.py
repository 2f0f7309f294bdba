"""Relational knowledge distillation (Park et al. 2019, arXiv:1904.05068)."""

from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from potstill.config.ranges import Ranges
from potstill.heads.base import Head, Layers
from potstill.heads.common.gather import gather
from potstill.heads.common.schedules import Schedule
from potstill.heads.common.shapes import to_pooled
from potstill.models.features.outputs import ModelOutputs


def _differences(feature: Tensor) -> Tensor:
    return feature[None] - feature[:, None]  # (N, N, D)


def _over(value: Tensor, size: Tensor) -> Tensor:
    """Divide; where the size is 0 leave 0 with a bounded gradient, as no epsilon in halves can."""
    return value / torch.where(size > 0, size, 1.0)


def potentials(feature: Tensor) -> tuple[Tensor, Tensor]:
    """Return pairwise distances over their mean (N, N), and cosines of triples (N, N, N).

    The mean is over distances that are not 0. Distances come from differences, not from
    |a|^2 + |b|^2 - 2ab, which loses all digits of near pairs.
    """
    difference = _differences(feature)
    distance = difference.norm(dim=2)
    mean = distance.sum() / (distance > 0).sum().clamp(min=1)
    unit = _over(difference, distance[:, :, None])
    return _over(distance, mean), unit @ unit.transpose(1, 2)


def rkd_loss(
    student: Tensor, teacher: Tensor, distance_weight: float, angle_weight: float
) -> Tensor:
    """Return weighted smooth-L1 differences of distances and of angles of (N, D) features.

    D may differ between the two. Memory is O(N^3 + N^2 D).

    Example:
        >>> from torch import tensor
        >>> feature = tensor([[0.0, 0.0], [3.0, 4.0], [6.0, 0.0]])
        >>> loss = rkd_loss(feature, 2 * feature, distance_weight=25.0, angle_weight=50.0)
        >>> bool(loss < 1e-6)  # distances count over their mean
        True
    """
    with torch.no_grad():
        their_distance, their_angle = potentials(teacher)
    distance, angle = potentials(student)
    by_distance = F.smooth_l1_loss(distance, their_distance)
    return distance_weight * by_distance + angle_weight * F.smooth_l1_loss(angle, their_angle)


class RKD(Head):
    """Match distances and angles among the images of the batch, that of all processes.

    Layers of any shape are averaged over positions first.
    """

    ranges: ClassVar[Ranges] = {
        "distance_weight": "[0, inf)",
        "angle_weight": "[0, inf)",
    }

    kind = "relation"

    def __init__(
        self,
        distance_weight: float = 25.0,
        angle_weight: float = 50.0,
        student: Layers = "pooled",
        teacher: Layers = "pooled",
        weight: float | Schedule | None = None,
    ) -> None:
        super().__init__(weight, student, teacher)
        self.distance_weight, self.angle_weight = distance_weight, angle_weight

    def forward(self, student: ModelOutputs, teacher: ModelOutputs, target: Tensor) -> Tensor:
        """Return the weighted relation differences, summed over layers, a scalar."""
        losses = [
            rkd_loss(
                gather(to_pooled(ours)),
                gather(to_pooled(theirs)),
                self.distance_weight,
                self.angle_weight,
            )
            for ours, theirs in self.features(student, teacher)
        ]
        return torch.stack(losses).sum()
