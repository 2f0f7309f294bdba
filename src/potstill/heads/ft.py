"""Factor transfer, a paraphraser and a translator (Kim et al. 2018, arXiv:1802.04977)."""

from itertools import pairwise
from typing import ClassVar

import torch.nn.functional as F
from torch import Tensor, nn

from potstill.config.ranges import Ranges
from potstill.heads.base import Head, Layers
from potstill.heads.common.adapters import (
    Adapters,
    Shape,
    map_pairs,
    match_size,
    need_layers,
    need_positions,
    unit,
)
from potstill.heads.common.schedules import Schedule
from potstill.models.features.outputs import ModelOutputs


def factor_transfer_loss(
    student: Tensor, teacher: Tensor, p1: float | None = 2.0, p2: float = 1.0
) -> Tensor:
    """Return mean |student - teacher|^p2 of two unit-length factors (N, C, H, W).

    With `p1` a factor is the mean |value|^p1 over channels, as in RepDistiller, whose widths may
    differ and whose weight is 200; `None` keeps the channels, as the paper does. The larger map
    is averaged down to the smaller.
    """
    student, teacher = match_size(student, teacher)
    difference = (_normalised(student, p1) - _normalised(teacher, p1)).abs()
    return difference.mean() if p2 == 1 else difference.pow(p2).mean()


def _normalised(factor: Tensor, p1: float | None) -> Tensor:
    return unit((factor if p1 is None else factor.abs().pow(p1).mean(1)).flatten(1))


class FactorTransfer(nn.Module):
    """The student's translator and the teacher's paraphraser, an autoencoder; k*C_t factors."""

    def __init__(self, student: Shape, teacher: Shape, k: float) -> None:
        super().__init__()
        width, wanted = student[0], teacher[0]
        factors = max(1, int(k * wanted))
        self.translator = _stack(nn.Conv2d, (width, width, factors, factors))
        self.paraphraser = _stack(nn.Conv2d, (wanted, wanted, factors, factors))
        self.decoder = _stack(nn.ConvTranspose2d, (factors, factors, wanted, wanted))

    def forward(self, student: Tensor, teacher: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return the factors of the student and of the teacher, and the reconstruction loss."""
        factor = self.paraphraser(teacher)
        reconstruction = F.mse_loss(self.decoder(factor), teacher)
        return self.translator(student), factor.detach(), reconstruction


def _stack(layer: type[nn.Conv2d] | type[nn.ConvTranspose2d], widths: tuple[int, ...]) -> nn.Module:
    layers: list[nn.Module] = []
    for width, wanted in pairwise(widths):
        layers += [layer(width, wanted, 3, padding=1), nn.LeakyReLU(0.1)]
    return nn.Sequential(*layers)


class FT(Head):
    """Match the student's translated factors with the teacher's paraphrased ones, over pairs.

    The paper trains the paraphraser beforehand; here its reconstruction loss is part of the value
    from the first step, and it learns from nothing else. That term is divided by the head's
    weight, so that the paraphraser always learns at weight 1. `k` is the share of the teacher's
    channels that the factors have. See `factor_transfer_loss` for `p1` and `p2`.
    """

    ranges: ClassVar[Ranges] = {"k": "(0, inf)", "p1": "[1, inf)", "p2": "[1, inf)"}

    kind: ClassVar[str] = "feature"
    default_weight: ClassVar[float] = 200.0

    def __init__(
        self,
        student: Layers = "level-1",
        teacher: Layers = "level-1",
        k: float = 0.5,
        p1: float | None = 2.0,
        p2: float = 1.0,
        weight: float | Schedule | None = None,
    ) -> None:
        super().__init__(weight, student, teacher)
        need_layers(self)
        if k <= 0:
            raise ValueError(f"k must be positive, got {k}")
        if p2 < 1 or (p1 is not None and p1 < 1):
            raise ValueError(f"p1 (or null) and p2 must be 1 or more, got {p1} and {p2}")
        self.k, self.p1, self.p2 = k, p1, p2
        self.adapters = Adapters()

    def bind(self, student: ModelOutputs, teacher: ModelOutputs) -> None:
        """Build a translator and a paraphraser a pair."""
        self.adapters.bind(self, student, teacher, self._build)

    def _build(self, student: Shape, teacher: Shape) -> FactorTransfer:
        if self.p1 is not None:
            need_positions(student, teacher)
        return FactorTransfer(student, teacher, self.k)

    def forward(self, student: ModelOutputs, teacher: ModelOutputs, target: Tensor) -> Tensor:
        """Return the pairs' factor losses plus their reconstruction over the weight, a scalar."""
        weight = self.weight_at(self.epoch)
        share = 1 / weight if weight else 0.0
        losses = []
        for transfer, (ours, theirs) in zip(
            self.adapters, map_pairs(self, student, teacher), strict=True
        ):
            translated, paraphrased, reconstruction = transfer(ours, theirs)
            factor = factor_transfer_loss(translated, paraphrased, self.p1, self.p2)
            losses.append(factor + share * reconstruction)
        return sum(losses[1:], losses[0])
