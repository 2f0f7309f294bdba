"""Decoupled knowledge distillation (Zhao et al. 2022, arXiv:2203.08679)."""

from typing import ClassVar

import torch.nn.functional as F
from torch import Tensor

from potstill.config.ranges import Ranges
from potstill.heads.base import Head, check_temperature
from potstill.heads.common.non_target import log_odds, non_target
from potstill.heads.common.schedules import Schedule, value_at
from potstill.heads.kd import kd_divergence
from potstill.models.features.outputs import ModelOutputs


def binary_divergence(student: Tensor, teacher: Tensor) -> Tensor:
    """Return KL of two classes from the log-odds of the first, (N,) each."""
    hit = teacher.sigmoid() * (F.logsigmoid(teacher) - F.logsigmoid(student))
    miss = (-teacher).sigmoid() * (F.logsigmoid(-teacher) - F.logsigmoid(-student))
    return hit + miss


def target_class_divergence(
    student: Tensor, teacher: Tensor, target: Tensor, temperature: float
) -> Tensor:
    """Return TCKD: T^2 * KL of (labelled class, all others), averaged over the batch.

    Logits are (N, K). The log of the sum of small probabilities is infinite once the student's
    gap passes about 104 in float32, so both logs are taken from the log-odds.

    Example:
        >>> from torch import tensor
        >>> student, teacher = tensor([[0.0, 0.0]]), tensor([[0.75, 0.25]]).log()
        >>> target_class_divergence(student, teacher, tensor([0]), temperature=1.0)
        tensor(0.1308)
    """
    ours = log_odds(student / temperature, target)  # (N,)
    theirs = log_odds(teacher / temperature, target)
    return temperature**2 * binary_divergence(ours, theirs).mean()


def non_target_class_divergence(
    student: Tensor, teacher: Tensor, target: Tensor, temperature: float
) -> Tensor:
    """Return NCKD: T^2 * KL over the classes other than the labelled one, batch average."""
    return kd_divergence(non_target(student, target), non_target(teacher, target), temperature)


def dkd_divergence(
    student: Tensor,
    teacher: Tensor,
    target: Tensor,
    alpha: float,
    beta: float,
    temperature: float,
) -> Tensor:
    """Return alpha * TCKD + beta * NCKD."""
    tckd = target_class_divergence(student, teacher, target, temperature)
    return alpha * tckd + beta * non_target_class_divergence(student, teacher, target, temperature)


class DKD(Head):
    """Match the labelled class and the other classes apart.

    The authors warm the weight up over 20 epochs (CIFAR): `weight=WarmUp(1.0, 20)`.
    Their beta is 2 to 8 by pair on CIFAR; on ImageNet beta is 0.5 and the temperature 1.
    """

    needs_labels: ClassVar[bool] = True
    ranges: ClassVar[Ranges] = {"alpha": "[0, inf)", "beta": "[0, inf)"}

    def __init__(
        self,
        temperature: float | Schedule = 4.0,
        alpha: float = 1.0,
        beta: float = 8.0,
        weight: float | Schedule | None = None,
    ) -> None:
        super().__init__(weight)
        check_temperature(temperature)
        self.temperature, self.alpha, self.beta = temperature, alpha, beta

    def forward(self, student: ModelOutputs, teacher: ModelOutputs, target: Tensor) -> Tensor:
        """Return alpha * TCKD + beta * NCKD, a scalar."""
        temperature = value_at(self.temperature, self.epoch)
        return dkd_divergence(
            student.logits, teacher.logits, target, self.alpha, self.beta, temperature
        )
