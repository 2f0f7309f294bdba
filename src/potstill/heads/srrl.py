"""Softmax regression representation learning (SRRL, Yang et al., ICLR 2021)."""

from typing import ClassVar

import torch.nn.functional as F
from torch import Tensor, nn

from potstill.config.ranges import Ranges
from potstill.heads.base import Head
from potstill.heads.common.adapters import Adapters, BatchNorm, map_pairs, need_layers
from potstill.heads.common.schedules import Schedule
from potstill.heads.common.shapes import to_pooled
from potstill.heads.common.teacher_classifier import copy_classifier
from potstill.models.features.outputs import ModelOutputs


class SRRL(Head):
    """Match the pooled last map, and the logits that the teacher's classifier makes of it.

    The student's map goes through a 1x1 convolution, batch-norm and ReLU; the classifier is a
    frozen copy. The student keeps its own classifier, which the task loss trains.

    Args:
        student: layer of the student.
        teacher: layer of the teacher whose average its classifier reads.
        beta: weight of the logits' squared difference beside that of the features.
        weight: a number, a schedule, or None for 1.
    """

    ranges: ClassVar[Ranges] = {"beta": "[0, inf)"}

    kind: ClassVar[str] = "feature"

    def __init__(
        self,
        student: str = "level-1",
        teacher: str = "level-1",
        beta: float = 1.0,
        weight: float | Schedule | None = None,
    ) -> None:
        super().__init__(weight, student, teacher)
        need_layers(self)
        if len(self.pairs) != 1:
            raise ValueError(f"SRRL takes one student and one teacher layer, got {self.pairs}")
        self.beta = beta
        self.adapters = Adapters()
        self._teacher: tuple[nn.Module, ...] = ()  # in a tuple, so that nothing registers it

    def attach(self, student: nn.Module, teacher: nn.Module, targets: Tensor | None = None) -> None:
        """Store the teacher until `bind`, which has the features."""
        self._teacher = (teacher,)

    def bind(self, student: ModelOutputs, teacher: ModelOutputs) -> None:
        """Build the connector and copy the teacher's classifier.

        Raises:
            ValueError: if the teacher's logits are not one linear layer over its pooled layer.
        """
        (network,), self._teacher = self._teacher, ()
        (layer,) = self.teacher_layers
        self.classifier = copy_classifier(network, teacher, layer, "SRRL")
        self.adapters.bind(
            self, student, teacher, lambda ours, theirs: _connector(ours[0], theirs[0])
        )

    def forward(self, student: ModelOutputs, teacher: ModelOutputs, target: Tensor) -> Tensor:
        """Return the features' squared difference + beta * the logits', a scalar."""
        ((ours, theirs),) = map_pairs(self, student, teacher)
        pooled = to_pooled(self.adapters[0](ours))  # (N, C of the teacher)
        regressed = F.mse_loss(self.classifier(pooled), teacher.logits)
        return F.mse_loss(pooled, to_pooled(theirs)) + self.beta * regressed


def _connector(width: int, wanted: int) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(width, wanted, 1, bias=False), BatchNorm(wanted), nn.ReLU())
