"""Weighted transformed teacher matching (WTTM, Zheng and Yang 2024, arXiv:2402.11148)."""

from typing import ClassVar

from torch import Tensor

from potstill.config.ranges import Ranges
from potstill.heads.base import Head
from potstill.heads.common.schedules import Schedule
from potstill.heads.ttm import check_exponent, divergence_rows, power_transform
from potstill.models.features.outputs import ModelOutputs


class WTTM(Head):
    """Match a teacher raised to a power, images with a smooth teacher counting more.

    Each image weighs the sum of its powers, as an entropy does.

    Args:
        gamma: exponent of the teacher's probabilities, the inverse of a temperature.
        weight: a number, a schedule, or None for the authors' 4 (CIFAR-100, beside a whole task
            loss: `alpha=null`).
    """

    ranges: ClassVar[Ranges] = {"gamma": "(0, inf)"}

    default_weight: ClassVar[float] = 4.0

    def __init__(self, gamma: float = 0.2, weight: float | Schedule | None = None) -> None:
        super().__init__(weight)
        check_exponent(gamma)
        self.gamma = gamma

    def forward(self, student: ModelOutputs, teacher: ModelOutputs, target: Tensor) -> Tensor:
        """Return the weighted divergence, averaged over the batch, a scalar."""
        log_q, log_u = power_transform(teacher.logits, self.gamma)
        return (log_u.exp() * divergence_rows(student.logits, log_q)).mean()
