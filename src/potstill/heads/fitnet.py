"""Hints: regress the teacher's feature (FitNets, Romero et al. 2014, arXiv:1412.6550)."""

from typing import ClassVar

import torch.nn.functional as F
from torch import Tensor

from potstill.heads.base import Head, Layers
from potstill.heads.common.adapters import Adapters, ConvReg, map_pairs, need_layers
from potstill.heads.common.schedules import Schedule
from potstill.models.features.outputs import ModelOutputs


def hint_loss(regressed: Tensor, hint: Tensor) -> Tensor:
    """Return the squared difference of two maps (N, C, H, W), averaged over all their values."""
    return F.mse_loss(regressed, hint)


class FitNet(Head):
    """Match hint layers through a regressor (convolution, batch-norm, ReLU), summed over pairs.

    As in RepDistiller it goes on through the whole training, where the paper has two phases;
    a schedule as `weight` brings back the first. The ReLU fits hints taken after a ReLU: for
    those before one (`:preact`) or a ViT's tokens set `relu=False`.
    """

    kind: ClassVar[str] = "feature"
    default_weight: ClassVar[float] = 100.0

    def __init__(
        self,
        student: Layers = "level2",
        teacher: Layers = "level2",
        relu: bool = True,
        weight: float | Schedule | None = None,
    ) -> None:
        super().__init__(weight, student, teacher)
        need_layers(self)
        self.relu = relu
        self.adapters = Adapters()

    def bind(self, student: ModelOutputs, teacher: ModelOutputs) -> None:
        """Build a `ConvReg` from the student's to the teacher's shape for each pair."""
        self.adapters.bind(
            self, student, teacher, lambda ours, theirs: ConvReg(ours, theirs, self.relu)
        )

    def forward(self, student: ModelOutputs, teacher: ModelOutputs, target: Tensor) -> Tensor:
        """Return the sum of the pairs' hint losses, a scalar."""
        maps = map_pairs(self, student, teacher)
        losses = [
            hint_loss(regressor(guided), hint)
            for regressor, (guided, hint) in zip(self.adapters, maps, strict=True)
        ]
        return sum(losses[1:], losses[0])
