"""Channel-wise distillation (CWD, Shu et al. 2021, arXiv:2011.13256)."""

from typing import ClassVar

import torch.nn.functional as F
from torch import Tensor, nn

from potstill.heads.base import Head, Layers, check_temperature
from potstill.heads.common.adapters import (
    Adapters,
    Shape,
    map_pairs,
    match_size,
    need_layers,
    need_positions,
)
from potstill.heads.common.schedules import Schedule, value_at
from potstill.models.features.outputs import ModelOutputs


def channel_divergence(student: Tensor, teacher: Tensor, temperature: float) -> Tensor:
    """Return T^2 * KL(teacher || student) of each channel's softmax over positions, eq. 3-4.

    Maps (N, C, H, W); averaged over images and channels, in nats.

    Example:
        >>> from torch import zeros, tensor
        >>> channel_divergence(tensor([[[[2.0, 0.0]]]]), zeros(1, 1, 1, 2), temperature=1.0)
        tensor(0.4338)
    """
    log_p = F.log_softmax(student.flatten(2).flatten(0, 1) / temperature, dim=1)  # (N * C, H * W)
    log_q = F.log_softmax(teacher.flatten(2).flatten(0, 1) / temperature, dim=1)
    return temperature**2 * F.kl_div(log_p, log_q, reduction="batchmean", log_target=True)


class CWD(Head):
    """Match where each channel looks, summed over pairs.

    Both maps are averaged to the smaller; where widths differ a 1x1 convolution brings the
    student's to the teacher's. The weight is the authors' for feature maps, set on segmentation.
    """

    kind: ClassVar[str] = "feature"
    default_weight: ClassVar[float] = 50.0

    def __init__(
        self,
        student: Layers = "level-1",
        teacher: Layers = "level-1",
        temperature: float | Schedule = 4.0,
        weight: float | Schedule | None = None,
    ) -> None:
        super().__init__(weight, student, teacher)
        need_layers(self)
        check_temperature(temperature)
        self.temperature = temperature
        self.align = Adapters()

    def bind(self, student: ModelOutputs, teacher: ModelOutputs) -> None:
        """Build the 1x1 convolutions; ValueError where the common map is one position."""
        self.align.bind(self, student, teacher, _align)

    def forward(self, student: ModelOutputs, teacher: ModelOutputs, target: Tensor) -> Tensor:
        """Return the divergence summed over pairs, a scalar."""
        temperature = value_at(self.temperature, self.epoch)
        losses = []
        for align, pair in zip(self.align, map_pairs(self, student, teacher), strict=True):
            ours, theirs = match_size(*pair)
            losses.append(channel_divergence(align(ours), theirs, temperature))
        return sum(losses[1:], losses[0])


def _align(student: Shape, teacher: Shape) -> nn.Module:
    need_positions(student, teacher)
    width, target = student[0], teacher[0]
    return nn.Identity() if width == target else nn.Conv2d(width, target, 1)
