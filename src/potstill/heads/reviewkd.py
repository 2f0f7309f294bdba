"""Knowledge review across levels (ReviewKD, Chen et al. 2021, arXiv:2104.09044)."""

from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from potstill.config.ranges import Ranges
from potstill.heads.base import Head, Layers
from potstill.heads.common.adapters import BatchNorm, Shape, each_pair, map_pairs, need_layers
from potstill.heads.common.schedules import Schedule
from potstill.models.features.outputs import ModelOutputs

STUDENT = ("level-3", "level-2", "level-1", "pooled")
TEACHER = ("level-3:preact", "level-2:preact", "level-1:preact", "pooled")


def hierarchical_context_loss(student: Tensor, teacher: Tensor) -> Tensor:
    """Return the weighted mean of squared errors at full size and pooled to 4, 2 and 1.

    Maps (N, C, H, W). Pooled sizes not smaller than H are left out, the weights of the others
    are 1/2, 1/4, 1/8 in turn.
    """
    total, weight, weights = F.mse_loss(student, teacher), 1.0, 1.0
    for size in (4, 2, 1):
        if size < student.shape[2]:
            weight /= 2
            weights += weight
            total = total + weight * F.mse_loss(_pool(student, size), _pool(teacher, size))
    return total / weights


def _pool(feature: Tensor, size: int) -> Tensor:
    height, width = feature.shape[2:]
    if height % size or width % size:
        return F.adaptive_avg_pool2d(feature, size)
    # The same values, and unlike adaptive pooling deterministic in CUDA's backward.
    return F.avg_pool2d(feature, (height // size, width // size))


class ABF(nn.Module):
    """Attention-based fusion of a student's map with what came from the deeper level.

    `forward(feature, deeper, size)` returns the map to compare, (N, out, *size), and the fused
    map for the next level, (N, mid, *size); `deeper` is `None` without fusion.
    """

    def __init__(self, width: int, mid: int, out: int, fuse: bool) -> None:
        super().__init__()
        reduce = nn.Conv2d(width, mid, 1, bias=False)
        rebuild = nn.Conv2d(mid, out, 3, padding=1, bias=False)
        for conv in (reduce, rebuild):
            nn.init.kaiming_uniform_(conv.weight, a=1)
        self.conv1 = nn.Sequential(reduce, BatchNorm(mid))
        self.conv2 = nn.Sequential(rebuild, BatchNorm(out))
        self.attention = nn.Conv2d(2 * mid, 2, 1) if fuse else None

    def forward(
        self, feature: Tensor, deeper: Tensor | None, size: tuple[int, int]
    ) -> tuple[Tensor, Tensor]:
        """Return the map to compare and the fused map."""
        fused = self.conv1(feature)
        if self.attention is not None and deeper is not None:
            deeper = F.interpolate(deeper, fused.shape[2:], mode="nearest")
            gate = self.attention(torch.cat([fused, deeper], dim=1)).sigmoid()  # (N, 2, H, W)
            fused = fused * gate[:, :1] + deeper * gate[:, 1:]
        if fused.shape[2:] != size:
            fused = F.interpolate(fused, size, mode="nearest")
        return self.conv2(fused), fused


class ReviewKD(Head):
    """Rebuild every teacher level from the student's same and deeper levels.

    Layers are given early to late; the authors take the pooled feature as the last, the
    student after and the teacher before the ReLU that ends a level (on ImageNet both before).
    The width between levels is the student's last, at most `max_mid_channel`. The authors'
    weight depends on the pair (.6 to 8, 1 for ResNet-34 to ResNet-18) and warms up over 20
    epochs from 0.
    """

    ranges: ClassVar[Ranges] = {"max_mid_channel": "[1, inf)"}

    kind: ClassVar[str] = "feature"

    def __init__(
        self,
        student: Layers = STUDENT,
        teacher: Layers = TEACHER,
        max_mid_channel: int = 512,
        weight: float | Schedule | None = None,
    ) -> None:
        super().__init__(weight, student, teacher)
        need_layers(self)
        if max_mid_channel < 1:
            raise ValueError(f"max_mid_channel must be positive, got {max_mid_channel}")
        self.max_mid_channel = max_mid_channel
        self.abfs = nn.ModuleList()
        self.shapes: list[tuple[Shape, Shape]] = []

    def bind(self, student: ModelOutputs, teacher: ModelOutputs) -> None:
        """Build one fusion a pair, in the order of the pairs; equal shapes change nothing."""
        shapes = each_pair(self, student, teacher, lambda ours, theirs: (ours, theirs))
        if shapes == self.shapes:
            return
        mid = min(self.max_mid_channel, shapes[-1][0][0])
        last = len(shapes) - 1
        self.abfs = nn.ModuleList(
            ABF(ours[0], mid, theirs[0], fuse=k < last) for k, (ours, theirs) in enumerate(shapes)
        ).to(student.logits.device)
        self.shapes = shapes

    def forward(self, student: ModelOutputs, teacher: ModelOutputs, target: Tensor) -> Tensor:
        """Return the hierarchical context loss summed over pairs, a scalar."""
        losses, fused = [], None
        maps = map_pairs(self, student, teacher)
        for abf, (ours, theirs) in zip(reversed(self.abfs), reversed(maps), strict=True):
            rebuilt, fused = abf(ours, fused, theirs.shape[2:])
            losses.append(hierarchical_context_loss(rebuilt, theirs))
        return sum(losses[1:], losses[0])
