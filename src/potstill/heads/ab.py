"""Activation boundaries of hidden neurons (Heo et al. 2018, arXiv:1811.03233)."""

from typing import ClassVar

from torch import Tensor, nn

from potstill.config.ranges import Ranges
from potstill.heads.base import Head, Layers
from potstill.heads.common.adapters import Adapters, ConvReg, Shape, map_pairs, need_layers
from potstill.heads.common.schedules import Schedule
from potstill.models.features.outputs import ModelOutputs


def boundary_loss(student: Tensor, teacher: Tensor, margin: float = 1.0) -> Tensor:
    """Return 3/1000 of the squared distance beyond the margin on the wrong side of the boundary.

    Features are (N, C, H, W) before a ReLU: where the teacher's neuron is active (> 0) the
    student's should reach `margin`, elsewhere `-margin`. Summed over a sample's neurons, averaged
    over the batch; the factor is the official code's.

    Example:
        >>> from torch import tensor
        >>> boundary_loss(tensor([[[[0.0]]]]), tensor([[[[2.0]]]]), margin=1.0)
        tensor(0.0030)
    """
    should_rise = (margin - student).relu().square() * (teacher > 0)
    should_fall = (student + margin).relu().square() * (teacher <= 0)
    return 3e-3 * (should_rise + should_fall).sum() / student.shape[0]


class AB(Head):
    """Match which neurons are active, over pairs of layers; the last counts 1, each before half.

    The paper initialises the student with this loss alone, then trains it without: a schedule as
    `weight` does that; a constant keeps it to the end. Where shapes differ, a convolution and a
    batch-norm translate the student's layer.
    """

    ranges: ClassVar[Ranges] = {"margin": "[0, inf)"}

    kind: ClassVar[str] = "feature"
    default_weight: ClassVar[float] = 1.0

    def __init__(
        self,
        student: Layers = ("level-3:preact", "level-2:preact", "level-1:preact"),
        teacher: Layers = ("level-3:preact", "level-2:preact", "level-1:preact"),
        margin: float = 1.0,
        weight: float | Schedule | None = None,
    ) -> None:
        super().__init__(weight, student, teacher)
        need_layers(self)
        if not 0 <= margin < float("inf"):
            raise ValueError(f"margin must not be negative, got {margin}")
        self.margin = margin
        self.adapters = Adapters()

    def bind(self, student: ModelOutputs, teacher: ModelOutputs) -> None:
        """Build one connector a pair whose shapes differ."""
        self.adapters.bind(self, student, teacher, _connector)

    def forward(self, student: ModelOutputs, teacher: ModelOutputs, target: Tensor) -> Tensor:
        """Return the pairs' boundary losses with weights 2^(i - L + 1), a scalar."""
        maps = map_pairs(self, student, teacher)
        losses = [
            boundary_loss(connector(ours), theirs, self.margin) * 2.0 ** (i - len(maps) + 1)
            for i, (connector, (ours, theirs)) in enumerate(zip(self.adapters, maps, strict=True))
        ]
        return sum(losses[1:], losses[0])


def _connector(student: Shape, teacher: Shape) -> nn.Module:
    return nn.Identity() if student == teacher else ConvReg(student, teacher, relu=False)
