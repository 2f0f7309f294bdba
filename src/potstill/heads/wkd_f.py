"""Wasserstein distance between features (WKD-F, Lv et al. 2024, arXiv:2412.08139)."""

from typing import ClassVar

import torch
from torch import Tensor, nn

from potstill.config.ranges import Ranges
from potstill.heads.base import Head, Layers
from potstill.heads.common.adapters import Adapters, BatchNorm, Shape, map_pairs, need_layers
from potstill.heads.common.schedules import Schedule
from potstill.models.features.outputs import ModelOutputs


def gaussian_distance(
    student: Tensor, teacher: Tensor, mean_cov_ratio: float = 2.0, eps: float = 1e-5
) -> Tensor:
    """Return the weighted squared 2-Wasserstein distance of diagonal Gaussians, section 3.2.

    Each image's channels are Gaussians over positions: maps (N, C, H, W), of any two sizes.
    The value is ratio * |difference of means|^2 + |difference of deviations|^2, summed over
    channels, averaged over the batch; a deviation is sqrt(unbiased variance + eps).

    Example:
        >>> from torch import arange
        >>> feature = arange(4.0).view(1, 1, 2, 2)
        >>> gaussian_distance(feature + 1, feature, mean_cov_ratio=2.0)
        tensor(2.)
    """
    mean = (student.mean((2, 3)) - teacher.mean((2, 3))).square().sum()
    spread = (_deviation(student, eps) - _deviation(teacher, eps)).square().sum()
    return (mean_cov_ratio * mean + spread) / len(student)


def _deviation(feature: Tensor, eps: float) -> Tensor:
    return torch.sqrt(feature.var((2, 3)) + eps)  # (N, C)


class WKDF(Head):
    """Match the mean and the deviation of each channel, summed over pairs.

    The authors' bottleneck (1x1, 3x3, 1x1 convolutions, batch-norm, ReLU; `hidden` channels)
    brings the student to the teacher's width. Map sizes may differ: only statistics meet.
    """

    ranges: ClassVar[Ranges] = {
        "mean_cov_ratio": "[0, inf)",
        "hidden": "[1, inf)",
        "eps": "(0, inf)",
    }

    kind: ClassVar[str] = "feature"

    def __init__(
        self,
        student: Layers = "level-1",
        teacher: Layers = "level-1",
        mean_cov_ratio: float = 2.0,
        hidden: int = 256,
        eps: float = 1e-5,
        weight: float | Schedule | None = None,
    ) -> None:
        super().__init__(weight, student, teacher)
        need_layers(self)
        if mean_cov_ratio < 0 or hidden < 1 or eps <= 0:
            raise ValueError(
                "mean_cov_ratio must not be negative, hidden and eps must be positive, "
                f"got {mean_cov_ratio}, {hidden}, {eps}"
            )
        self.mean_cov_ratio, self.hidden, self.eps = mean_cov_ratio, hidden, eps
        self.projectors = Adapters()

    def bind(self, student: ModelOutputs, teacher: ModelOutputs) -> None:
        """Build the bottlenecks; ValueError where a map has one position, so no variance."""
        self.projectors.bind(self, student, teacher, self._bottleneck)

    def forward(self, student: ModelOutputs, teacher: ModelOutputs, target: Tensor) -> Tensor:
        """Return the distance summed over pairs, a scalar."""
        maps = map_pairs(self, student, teacher)
        losses = [
            gaussian_distance(projector(ours), theirs, self.mean_cov_ratio, self.eps)
            for projector, (ours, theirs) in zip(self.projectors, maps, strict=True)
        ]
        return sum(losses[1:], losses[0])

    def _bottleneck(self, student: Shape, teacher: Shape) -> nn.Module:
        if student[1] * student[2] == 1 or teacher[1] * teacher[2] == 1:
            raise ValueError(
                "one position has no variance. Fix: name layers that keep a map, such as level-1"
            )
        return nn.Sequential(
            nn.Conv2d(student[0], self.hidden, 1),
            nn.Conv2d(self.hidden, self.hidden, 3, padding=1),
            nn.Conv2d(self.hidden, teacher[0], 1),
            BatchNorm(teacher[0]),
            nn.ReLU(),
        )
