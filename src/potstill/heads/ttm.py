"""Transformed teacher matching (TTM, Zheng and Yang 2024, arXiv:2402.11148)."""

from typing import ClassVar

import torch.nn.functional as F
from torch import Tensor

from potstill.config.ranges import Ranges
from potstill.heads.base import Head
from potstill.heads.common.schedules import Schedule
from potstill.models.features.outputs import ModelOutputs


def power_transform(logits: Tensor, gamma: float) -> tuple[Tensor, Tensor]:
    """Return log q and log U of q = p^gamma / U, p the softmax of logits (N, K).

    U is the sum of p^gamma over the classes, (N,): near 1 where the teacher is sure, K^(1 - gamma)
    where it knows nothing.

    Example:
        >>> from torch import tensor
        >>> log_q, log_u = power_transform(tensor([[0.9, 0.1]]).log(), gamma=0.5)
        >>> log_q.exp(), log_u.exp()
        (tensor([[0.7500, 0.2500]]), tensor([1.2649]))
    """
    powers = gamma * F.log_softmax(logits, dim=1)
    log_u = powers.logsumexp(1)
    return powers - log_u[:, None], log_u


def divergence_rows(student: Tensor, log_q: Tensor) -> Tensor:
    """Return KL(q, softmax of the student's logits) of each image, (N,)."""
    return (log_q.exp() * (log_q - F.log_softmax(student, dim=1))).sum(1)


def check_exponent(gamma: float) -> None:
    """Raise ValueError where the exponent is not positive and finite."""
    if not 0 < gamma < float("inf"):
        raise ValueError(f"gamma must be positive, got {gamma}")


class TTM(Head):
    """Match a teacher raised to a power; the student keeps temperature 1.

    Args:
        gamma: exponent of the teacher's probabilities, the inverse of a temperature.
        weight: a number, a schedule, or None for the authors' 45 (CIFAR-100, beside a whole task
            loss: `alpha=null`).
    """

    ranges: ClassVar[Ranges] = {"gamma": "(0, inf)"}

    default_weight: ClassVar[float] = 45.0

    def __init__(self, gamma: float = 0.1, weight: float | Schedule | None = None) -> None:
        super().__init__(weight)
        check_exponent(gamma)
        self.gamma = gamma

    def forward(self, student: ModelOutputs, teacher: ModelOutputs, target: Tensor) -> Tensor:
        """Return the divergence, averaged over the batch, a scalar."""
        log_q, _ = power_transform(teacher.logits, self.gamma)
        return divergence_rows(student.logits, log_q).mean()
