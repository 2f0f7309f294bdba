"""Regression of pooled features, a hint without a norm (Romero et al. 2014, arXiv:1412.6550)."""

from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from potstill.heads.base import Head, Layers
from potstill.heads.common.adapters import Adapters, need_layers
from potstill.heads.common.schedules import Schedule
from potstill.heads.common.shapes import to_pooled
from potstill.models.features.outputs import ModelOutputs


class PooledMSE(Head):
    """Match pooled features through one linear layer, or none where both have one size.

    Unlike a hint (`fitnet`) there is no batch-norm and no ReLU, as in `FeatureDistillationTask`
    of timm and in PyTorch's tutorial.

    Args:
        student: layer of the student, averaged over its positions.
        teacher: layer of the teacher, averaged over its positions.
        weight: a number, a schedule, or None for timm's 1.
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
        """Build the linear layer of each pair that needs one."""
        self.adapters.bind(
            self, student, teacher, lambda ours, theirs: _projection(ours[0], theirs[0])
        )

    def forward(self, student: ModelOutputs, teacher: ModelOutputs, target: Tensor) -> Tensor:
        """Return the squared difference, averaged over batch and channels, summed over pairs."""
        losses = [
            F.mse_loss(project(to_pooled(ours)), to_pooled(theirs))
            for project, (ours, theirs) in zip(
                self.adapters, self.features(student, teacher), strict=True
            )
        ]
        return torch.stack(losses).sum()


def _projection(width: int, wanted: int) -> nn.Module:
    return nn.Identity() if width == wanted else nn.Linear(width, wanted)
