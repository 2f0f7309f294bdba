"""Weighted soft labels for distillation (Zhou et al. 2021, arXiv:2102.00650)."""

from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from potstill.heads.base import Head, check_temperature
from potstill.heads.common.non_target import log_odds
from potstill.heads.common.schedules import Schedule, value_at
from potstill.heads.nkd import soft_cross_entropy
from potstill.models.features.outputs import ModelOutputs

EPS = 1e-7  # the authors': added to the teacher's cross-entropy


def soft_label_weight(student: Tensor, teacher: Tensor, target: Tensor) -> Tensor:
    """Return 1 - exp(-CE_student / CE_teacher) of each image, (N,), without gradient.

    The cross-entropies are -log p of the label at temperature 1. They come from the log-odds:
    -log_softmax is exactly 0 in float32 where the network is sure, and their ratio lost.

    Example:
        >>> from torch import tensor
        >>> logits = tensor([[0.0, 0.0], [1.0, 2.0]])
        >>> soft_label_weight(logits, logits, tensor([0, 1]))
        tensor([0.6321, 0.6321])
    """
    ours = F.softplus(-log_odds(student, target))
    theirs = F.softplus(-log_odds(teacher, target))
    return -torch.expm1(-ours / (theirs + EPS)).detach()


def wsld_loss(student: Tensor, teacher: Tensor, target: Tensor, temperature: float) -> Tensor:
    """Return T^2 * weighted soft cross-entropy of logits (N, K), averaged over the batch."""
    weight = soft_label_weight(student, teacher, target)
    return (weight * soft_cross_entropy(student, teacher, temperature)).mean()


class WSLD(Head):
    """Trust a soft label the less, the surer the student is of that image already."""

    default_weight = 2.5
    needs_labels: ClassVar[bool] = True

    def __init__(
        self, temperature: float | Schedule = 2.0, weight: float | Schedule | None = None
    ) -> None:
        super().__init__(weight)
        check_temperature(temperature)
        self.temperature = temperature

    def forward(self, student: ModelOutputs, teacher: ModelOutputs, target: Tensor) -> Tensor:
        """Return the weighted soft cross-entropy, a scalar."""
        temperature = value_at(self.temperature, self.epoch)
        return wsld_loss(student.logits, teacher.logits, target, temperature)
