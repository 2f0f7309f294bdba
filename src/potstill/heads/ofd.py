"""Overhaul of feature distillation (OFD, Heo et al. 2019, arXiv:1904.01866)."""

import math
from typing import ClassVar

import torch
from torch import Tensor, nn

from potstill.heads.base import Head, Layers
from potstill.heads.common.adapters import (
    Adapters,
    BatchNorm,
    Shape,
    map_pairs,
    match_size,
    need_layers,
)
from potstill.heads.common.gather import gather
from potstill.heads.common.locate import locate
from potstill.heads.common.schedules import Schedule
from potstill.models.features.outputs import ModelOutputs

LAYERS = ("level-3:preact", "level-2:preact", "level-1:preact")


def partial_distance(student: Tensor, teacher: Tensor, margin: Tensor) -> Tensor:
    """Return the partial L2 distance, eq. 2, to the margin ReLU of the teacher, eq. 1.

    Maps (N, C, H, W), margin (1, C, 1, 1) and negative; summed over a map, averaged over the
    batch. Where the teacher is not positive, a student below it costs nothing.
    """
    goal = torch.maximum(teacher, margin)
    is_counted = (teacher > 0) | (student > goal)
    return ((student - goal).square() * is_counted).sum() / len(student)


def negative_mean(mean: Tensor, std: Tensor) -> Tensor:
    """Return E[x | x < 0] of Gaussians, section 3.2: the margin of each channel, (C,).

    As the authors have it, -3 * std where a negative value has a probability of at most 1e-3.

    Example:
        >>> from torch import tensor
        >>> negative_mean(tensor([0.0]), tensor([1.0]))
        tensor([-0.7979])
    """
    std = std.abs().clamp_min(torch.finfo(std.dtype).tiny)
    ratio = (-mean / std).clamp(-1e4, 1e4)
    log_density = -ratio.square() / 2 - math.log(2 * math.pi) / 2
    log_chance = torch.special.log_ndtr(ratio)
    margin = mean - std * torch.exp(log_density - log_chance)
    return torch.where(log_chance > math.log(1e-3), margin, -3 * std)


class OFD(Head):
    """Match maps before their ReLU, the margin-limited part of them, deeper levels more.

    Layers are given early to late; layer i of L weighs 2^(i - L). A 1x1 convolution and a
    batch-norm bring the student to the teacher's width; maps are averaged to the smaller. The
    margins come from the teacher's last batch-norm before the layer (of a residual block: the
    main branch's). A layer without one (a ViT's) gets a Gaussian fitted to each channel in the
    first training batch. All margins are buffers.
    """

    kind: ClassVar[str] = "feature"
    default_weight: ClassVar[float] = 1e-3

    def __init__(
        self,
        student: Layers = LAYERS,
        teacher: Layers = LAYERS,
        weight: float | Schedule | None = None,
    ) -> None:
        super().__init__(weight, student, teacher)
        need_layers(self)
        self.connectors = Adapters()
        self.from_norm: list[bool] = []
        self.is_fitted: list[bool] = []  # on the host: to read a buffer waits for a GPU
        self._teacher: tuple[nn.Module, ...] = ()  # in a tuple, so that nothing registers it

    def attach(self, student: nn.Module, teacher: nn.Module, targets: Tensor | None = None) -> None:
        """Store the teacher until `bind`, which has the features."""
        self._teacher = (teacher,)

    def bind(self, student: ModelOutputs, teacher: ModelOutputs) -> None:
        """Build the connectors, take the margins of batch-norms; equal shapes change nothing."""
        known = self.connectors.shapes
        self.connectors.bind(self, student, teacher, _connector)
        networks, self._teacher = self._teacher, ()
        if self.connectors.shapes is known:
            return
        (network,) = networks
        located = locate(network, teacher, self.teacher_layers)
        self.from_norm = []
        for k, (name, (_, theirs)) in enumerate(
            zip(self.teacher_layers, self.connectors.shapes, strict=True)
        ):
            norm = located.norm_before(name, theirs[0])
            margin = torch.zeros(theirs[0])
            if norm is not None:
                margin = negative_mean(norm.bias.detach().float(), norm.weight.detach().float())
            self.register_buffer(f"margin{k}", margin[None, :, None, None])
            self.from_norm.append(norm is not None)
        self.is_fitted = list(self.from_norm)
        self.to(student.logits.device)

    def forward(self, student: ModelOutputs, teacher: ModelOutputs, target: Tensor) -> Tensor:
        """Return the weighted sum of the layers' distances, a scalar."""
        maps = map_pairs(self, student, teacher)
        total = student.logits.new_zeros(())
        for k, (ours, theirs) in enumerate(maps):
            margin = self._margin(k, theirs)
            ours, theirs = match_size(ours, theirs)
            distance = partial_distance(self.connectors[k](ours), theirs, margin)
            total = total + distance / 2 ** (len(maps) - 1 - k)
        return total

    def get_extra_state(self) -> Tensor:
        """Return which margins are known, for checkpoints."""
        return torch.tensor(self.is_fitted, dtype=torch.bool)

    def set_extra_state(self, state: Tensor) -> None:
        """Go on with margins that are known."""
        self.is_fitted = state.tolist()

    def _margin(self, k: int, teacher: Tensor) -> Tensor:
        margin = self.get_buffer(f"margin{k}")
        if self.is_fitted[k]:
            return margin
        fresh = fit_margin(teacher)
        if self.training:
            margin.copy_(fresh)
            self.is_fitted[k] = True
        return fresh


@torch.no_grad()
def fit_margin(feature: Tensor) -> Tensor:
    """Return the margins (1, C, 1, 1) of Gaussians fitted to a map's channels, over all ranks."""
    means = gather(feature.mean((0, 2, 3))[None])  # (ranks, C)
    variances = gather(feature.var((0, 2, 3), correction=0)[None])
    mean = means.mean(0)
    std = (variances + (means - mean).square()).mean(0).sqrt()
    return negative_mean(mean, std)[None, :, None, None]


def _connector(student: Shape, teacher: Shape) -> nn.Module:
    conv = nn.Conv2d(student[0], teacher[0], 1, bias=False)
    nn.init.normal_(conv.weight, std=math.sqrt(2 / teacher[0]))
    return nn.Sequential(conv, BatchNorm(teacher[0]))
