"""Hard-label distillation of DeiT (Touvron et al. 2021, arXiv:2012.12877)."""

import torch.nn.functional as F
from torch import Tensor

from potstill.heads.base import Head
from potstill.heads.common.schedules import Schedule
from potstill.models.features.outputs import ModelOutputs


def hard_label_loss(student: Tensor, teacher: Tensor) -> Tensor:
    """Return the cross-entropy of logits (N, K) to the teacher's first choice, batch average.

    Example:
        >>> from torch import tensor
        >>> hard_label_loss(tensor([[0.0, 0.0]]), tensor([[3.0, 1.0]]))
        tensor(0.6931)
    """
    return F.cross_entropy(student, teacher.argmax(1))


class HardLabel(Head):
    """Take the teacher's first choice for the label."""

    def __init__(self, weight: float | Schedule | None = None) -> None:
        super().__init__(weight)

    def forward(self, student: ModelOutputs, teacher: ModelOutputs, target: Tensor) -> Tensor:
        """Return the cross-entropy to the teacher's first choice, a scalar."""
        return hard_label_loss(student.logits, teacher.logits)
