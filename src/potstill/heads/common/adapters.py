"""Adapters between student and teacher features: resizing, regressors, one a pair."""

from collections.abc import Callable
from typing import TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from potstill.heads.base import Head
from potstill.heads.common.shapes import to_map
from potstill.models.features.outputs import ModelOutputs

Shape = tuple[int, int, int]  # (C, H, W)
Made = TypeVar("Made")


class BatchNorm(nn.BatchNorm2d):
    """Batch-norm that also takes one value a channel, where PyTorch's raises in training.

    One value has no variance, so the running statistics serve, and stay as they are.
    """

    def forward(self, feature: Tensor) -> Tensor:
        """Return the feature (N, C, H, W) normalised by batch or running statistics."""
        num_channels = feature.shape[1]
        if feature.numel() > num_channels:
            return super().forward(feature)
        mean, var = self.running_mean, self.running_var
        return F.batch_norm(feature, mean, var, self.weight, self.bias, False, 0.0, self.eps)


class ConvReg(nn.Module):
    """Regress (N, *student) to (N, *teacher): convolution, batch-norm and, if `relu`, ReLU.

    The convolution is RepDistiller's: 3x3 of stride 2 from twice the resolution, a transposed
    4x4 from half of it, else a kernel of 1 + the difference, which costs parameters with its
    square. Smaller students that fit none of these are resized (bilinear), then a 1x1.
    """

    def __init__(self, student: Shape, teacher: Shape, relu: bool = True) -> None:
        super().__init__()
        self.conv = _conv(student, teacher)
        self.bn = BatchNorm(teacher[0])
        self.relu = relu

    def forward(self, feature: Tensor) -> Tensor:
        """Return the regressed feature, (N, *teacher), of one (N, *student)."""
        out = self.bn(self.conv(feature))
        return out.relu() if self.relu else out


def _conv(student: Shape, teacher: Shape) -> nn.Module:
    width, height_s, width_s = student
    wanted, height_t, width_t = teacher
    if (height_s, width_s) == (2 * height_t, 2 * width_t):
        return nn.Conv2d(width, wanted, 3, stride=2, padding=1)
    if (2 * height_s, 2 * width_s) == (height_t, width_t):
        return nn.ConvTranspose2d(width, wanted, 4, stride=2, padding=1)
    if height_s >= height_t and width_s >= width_t:
        return nn.Conv2d(width, wanted, (1 + height_s - height_t, 1 + width_s - width_t))
    resize = nn.Upsample(size=(height_t, width_t), mode="bilinear", align_corners=False)
    return nn.Sequential(resize, nn.Conv2d(width, wanted, 1))


def match_size(student: Tensor, teacher: Tensor) -> tuple[Tensor, Tensor]:
    """Return both maps (N, C, H, W) averaged down to the smaller height and the smaller width."""
    height = min(student.shape[2], teacher.shape[2])
    width = min(student.shape[3], teacher.shape[3])
    return _pool(student, height, width), _pool(teacher, height, width)


def _pool(feature: Tensor, height: int, width: int) -> Tensor:
    down, across = feature.shape[2] / height, feature.shape[3] / width
    if down == across == 1:
        return feature
    if down.is_integer() and across.is_integer():
        # The same values, and unlike adaptive pooling deterministic in CUDA's backward.
        return F.avg_pool2d(feature, (int(down), int(across)))
    return F.adaptive_avg_pool2d(feature, (height, width))


def unit(feature: Tensor, dim: int = -1) -> Tensor:
    """Return `feature` over its L2 norm along `dim`; zero where there is nothing to scale.

    A vector of zeros has no direction: its gradient is zero here, not the 1e12 of an epsilon.

    Example:
        >>> from torch import tensor
        >>> unit(tensor([[3.0, 4.0], [0.0, 0.0]]))
        tensor([[0.6000, 0.8000],
                [0.0000, 0.0000]])
    """
    norm = torch.linalg.vector_norm(feature, dim=dim, keepdim=True)
    zero = norm <= 1e-12
    return feature.masked_fill(zero, 0) / norm.masked_fill(zero, 1)


def map_pairs(
    head: Head, student: ModelOutputs, teacher: ModelOutputs
) -> list[tuple[Tensor, Tensor]]:
    """Return the (student, teacher) features of the head's pairs as maps (N, C, H, W)."""
    return [(to_map(ours), to_map(theirs)) for ours, theirs in head.features(student, teacher)]


def need_layers(head: Head, least: int = 1) -> None:
    """Raise ValueError where the head reads fewer than `least` pairs of layers."""
    if len(head.pairs) < least:
        raise ValueError(
            f"{type(head).__name__} needs at least {least} layer(s) of each network, got "
            f"{len(head.pairs)}. Fix: name them with student= and teacher="
        )


def each_pair(
    head: Head, student: ModelOutputs, teacher: ModelOutputs, make: Callable[[Shape, Shape], Made]
) -> list[Made]:
    """Return make(student shape, teacher shape) for each pair of layers, shapes as (C, H, W).

    Raises:
        ValueError: if a pair cannot work together; the message names both layers and shapes.
    """
    made = []
    for (ours, theirs), (mine, other) in zip(
        head.pairs, head.features(student, teacher), strict=True
    ):
        try:
            made.append(make(_shape(mine), _shape(other)))
        except ValueError as error:
            raise ValueError(
                f"{type(head).__name__}: student layer {ours!r} {tuple(mine.shape)} and teacher "
                f"layer {theirs!r} {tuple(other.shape)} do not go together: {error}"
            ) from error
    return made


def _shape(feature: Tensor) -> Shape:
    _, channels, height, width = to_map(feature).shape
    return channels, height, width


def need_positions(student: Shape, teacher: Shape) -> None:
    """Raise ValueError where the common map has one position: normalised, it is always 1."""
    if min(student[1], teacher[1]) * min(student[2], teacher[2]) == 1:
        raise ValueError(
            "their common map has one position, where this loss is always 0. "
            "Fix: name layers that keep a map, such as level-1"
        )


class Adapters(nn.ModuleList):
    """One adapter for each pair of layers, built when the shapes are known."""

    def __init__(self) -> None:
        super().__init__()
        self.shapes: list[tuple[Shape, Shape]] = []

    def bind(
        self,
        head: Head,
        student: ModelOutputs,
        teacher: ModelOutputs,
        build: Callable[[Shape, Shape], nn.Module],
    ) -> None:
        """Build an adapter a pair; equal shapes again change nothing, others build afresh."""
        shapes = each_pair(head, student, teacher, lambda ours, theirs: (ours, theirs))
        if shapes == self.shapes:
            return
        built = each_pair(head, student, teacher, build)
        del self[:]
        self.extend(adapter.to(student.logits.device) for adapter in built)
        self.shapes = shapes
