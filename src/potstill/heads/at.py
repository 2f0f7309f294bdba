"""Attention transfer between maps (Zagoruyko and Komodakis 2016, arXiv:1612.03928)."""

from typing import ClassVar

from torch import Tensor

from potstill.config.ranges import Ranges
from potstill.heads.base import Head, Layers
from potstill.heads.common.adapters import (
    each_pair,
    map_pairs,
    match_size,
    need_layers,
    need_positions,
    unit,
)
from potstill.heads.common.schedules import Schedule
from potstill.models.features.outputs import ModelOutputs


def attention_map(feature: Tensor, p: float = 2.0) -> Tensor:
    """Return the unit-length map of mean |activation|^p over channels: (N, C, H, W) -> (N, H*W).

    Example:
        >>> from torch import tensor
        >>> attention_map(tensor([[[[3.0, 4.0]]]]), p=1.0)
        tensor([[0.6000, 0.8000]])
    """
    return unit(feature.abs().pow(p).mean(1).flatten(1))


def attention_loss(student: Tensor, teacher: Tensor, p: float = 2.0) -> Tensor:
    """Return the squared difference of two attention maps, averaged over batch and positions.

    Features are (N, C, H, W) of any widths; the larger map is averaged down to the smaller.
    """
    student, teacher = match_size(student, teacher)
    return (attention_map(student, p) - attention_map(teacher, p)).square().mean()


class AT(Head):
    """Match where the networks look, summed over pairs of layers.

    The mean over positions as well as the batch, RepDistiller's, is why the weight is large.
    """

    ranges: ClassVar[Ranges] = {"p": "[1, inf)"}

    kind: ClassVar[str] = "feature"
    default_weight: ClassVar[float] = 1000.0

    def __init__(
        self,
        student: Layers = ("level-3", "level-2", "level-1"),
        teacher: Layers = ("level-3", "level-2", "level-1"),
        p: float = 2.0,
        weight: float | Schedule | None = None,
    ) -> None:
        super().__init__(weight, student, teacher)
        need_layers(self)
        if not 1 <= p < float("inf"):
            raise ValueError(f"p must be 1 or more (below, the gradient at 0 is infinite), got {p}")
        self.p = p

    def bind(self, student: ModelOutputs, teacher: ModelOutputs) -> None:
        """Check that each pair has a map in common; there is nothing to build."""
        each_pair(self, student, teacher, need_positions)

    def forward(self, student: ModelOutputs, teacher: ModelOutputs, target: Tensor) -> Tensor:
        """Return the sum of the pairs' attention losses, a scalar."""
        maps = map_pairs(self, student, teacher)
        losses = [attention_loss(ours, theirs, self.p) for ours, theirs in maps]
        return sum(losses[1:], losses[0])
