"""Flow of solution procedure between layers (Yim et al., "A Gift from KD", CVPR 2017)."""

from itertools import pairwise
from typing import ClassVar

import torch
from torch import Tensor, nn

from potstill.heads.base import Head, Layers
from potstill.heads.common.adapters import Adapters, Shape, map_pairs, match_size, need_layers
from potstill.heads.common.schedules import Schedule
from potstill.models.features.outputs import ModelOutputs


def fsp_matrix(lower: Tensor, upper: Tensor) -> Tensor:
    """Return the inner products of two layers' channels, averaged over positions.

    (N, C, H, W) and (N, K, H', W') give (N, C, K); the larger map is averaged down first.

    Example:
        >>> from torch import ones
        >>> fsp_matrix(ones(1, 2, 4, 4), 3 * ones(1, 3, 2, 2))
        tensor([[[3., 3., 3.],
                 [3., 3., 3.]]])
    """
    lower, upper = match_size(lower, upper)
    num_positions = lower.shape[2] * lower.shape[3]
    return lower.flatten(2) @ upper.flatten(2).mT / num_positions


def fsp_loss(student: tuple[Tensor, Tensor], teacher: tuple[Tensor, Tensor]) -> Tensor:
    """Return the squared difference of two FSP matrices, averaged over their values.

    Each network gives a lower and an upper layer; widths must be equal, resolutions need not be.
    """
    return (fsp_matrix(*student) - fsp_matrix(*teacher)).square().mean()


class FSP(Head):
    """Match how each named layer follows from the one named before it, summed over neighbours.

    The paper wants equal widths; where they differ, a 1x1 convolution widens the student's layer.
    """

    kind: ClassVar[str] = "feature"
    default_weight: ClassVar[float] = 50.0

    def __init__(
        self,
        student: Layers = ("level-3", "level-2", "level-1"),
        teacher: Layers = ("level-3", "level-2", "level-1"),
        weight: float | Schedule | None = None,
    ) -> None:
        super().__init__(weight, student, teacher)
        need_layers(self, least=2)
        self.adapters = Adapters()

    def bind(self, student: ModelOutputs, teacher: ModelOutputs) -> None:
        """Build a 1x1 convolution for each layer whose width is not the teacher's."""
        self.adapters.bind(self, student, teacher, _widen)

    def forward(self, student: ModelOutputs, teacher: ModelOutputs, target: Tensor) -> Tensor:
        """Return the sum of the neighbours' FSP losses, a scalar."""
        maps = [
            (widen(ours), theirs)
            for widen, (ours, theirs) in zip(
                self.adapters, map_pairs(self, student, teacher), strict=True
            )
        ]
        losses = [
            fsp_loss((lower[0], upper[0]), (lower[1], upper[1])) for lower, upper in pairwise(maps)
        ]
        return torch.stack(losses).sum()


def _widen(student: Shape, teacher: Shape) -> nn.Module:
    if student[0] == teacher[0]:
        return nn.Identity()
    return nn.Conv2d(student[0], teacher[0], 1, bias=False)
