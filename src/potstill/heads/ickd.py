"""Inter-channel correlation (ICKD, Liu et al., ICCV 2021)."""

from typing import ClassVar

import torch
from torch import Tensor, nn

from potstill.heads.base import Head, Layers
from potstill.heads.common.adapters import Adapters, BatchNorm, map_pairs, need_layers, unit
from potstill.heads.common.schedules import Schedule
from potstill.models.features.outputs import ModelOutputs


def channel_correlation(feature: Tensor) -> Tensor:
    """Return the products of the channels of maps (N, C, H, W), rows of unit length, (N, C, C).

    Example:
        >>> from torch import tensor
        >>> channel_correlation(tensor([[[[3.0]], [[4.0]]]]))
        tensor([[[0.6000, 0.8000],
                 [0.6000, 0.8000]]])
    """
    flat = feature.flatten(2)
    return unit(flat @ flat.transpose(1, 2), dim=2)


def correlation_loss(student: Tensor, teacher: Tensor) -> Tensor:
    """Return the squared difference of both correlations over N * C, averaged over the batch.

    The code that the authors gave out divides by the batch twice (`/ (C * N * N)`); so does this.
    Maps are (N, C, H, W) of as many channels, of any size.
    """
    difference = channel_correlation(student) - channel_correlation(teacher)
    num_images, num_channels = student.shape[:2]
    return difference.square().sum() / (num_channels * num_images**2)


class ICKD(Head):
    """Match correlations between channels, the student's after a 3x3 convolution and batch-norm.

    Args:
        student: layer of the student.
        teacher: layer of the teacher.
        weight: a number, a schedule, or None for 500, that of torchdistill's ImageNet recipe
            (batches of 256; the loss falls with the batch).
    """

    kind: ClassVar[str] = "feature"
    default_weight: ClassVar[float] = 500.0

    def __init__(
        self,
        student: Layers = "level-1",
        teacher: Layers = "level-1",
        weight: float | Schedule | None = None,
    ) -> None:
        super().__init__(weight, student, teacher)
        need_layers(self)
        self.adapters = Adapters()

    def bind(self, student: ModelOutputs, teacher: ModelOutputs) -> None:
        """Build the embedding of each pair."""
        self.adapters.bind(self, student, teacher, lambda ours, theirs: _embed(ours[0], theirs[0]))

    def forward(self, student: ModelOutputs, teacher: ModelOutputs, target: Tensor) -> Tensor:
        """Return the sum of the pairs' losses, a scalar."""
        maps = map_pairs(self, student, teacher)
        return torch.stack(
            [
                correlation_loss(embed(ours), theirs)
                for embed, (ours, theirs) in zip(self.adapters, maps, strict=True)
            ]
        ).sum()


def _embed(width: int, wanted: int) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(width, wanted, 3, padding=1, bias=False), BatchNorm(wanted))
