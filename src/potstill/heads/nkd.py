"""NKD, distillation with a normalized loss (Yang et al. 2023, arXiv:2303.13005)."""

from typing import ClassVar

import torch.nn.functional as F
from torch import Tensor

from potstill.config.ranges import Ranges
from potstill.heads.base import Head, check_temperature
from potstill.heads.common.non_target import non_target, target_logit
from potstill.heads.common.schedules import Schedule, value_at
from potstill.models.features.outputs import ModelOutputs

FORMULAS = ("paper", "official_code")


def target_term(student: Tensor, teacher: Tensor, target: Tensor) -> Tensor:
    """Return -q log p of the labelled class at temperature 1, averaged over the batch."""
    log_p = target_logit(F.log_softmax(student, dim=1), target)  # (N,)
    log_q = target_logit(F.log_softmax(teacher, dim=1), target)
    return -(log_q.exp() * log_p).mean()


def soft_cross_entropy(student: Tensor, teacher: Tensor, temperature: float) -> Tensor:
    """Return T^2 * cross-entropy of the student under the teacher at temperature T, per row.

    Example:
        >>> from torch import tensor
        >>> soft_cross_entropy(tensor([[0.0, 0.0]]), tensor([[5.0, 1.0]]), temperature=2.0)
        tensor([2.7726])
    """
    log_p = F.log_softmax(student / temperature, dim=1)
    q = F.softmax(teacher / temperature, dim=1)
    return -(temperature**2) * (q * log_p).sum(1)


def nkd_loss(
    student: Tensor,
    teacher: Tensor,
    target: Tensor,
    gamma: float,
    temperature: float,
    formula: str = "paper",
) -> Tensor:
    """Return target term + gamma * T^2 * cross-entropy over the other classes.

    The authors' mask removes nothing, so that "official_code" sums over all classes; "paper"
    leaves the labelled one out and normalizes the rest. Logits are (N, K).
    """
    term = target_term(student, teacher, target)
    if formula == "paper":
        student, teacher = non_target(student, target), non_target(teacher, target)
    return term + gamma * soft_cross_entropy(student, teacher, temperature).mean()


class NKD(Head):
    """Match the labelled class by the teacher's confidence and the others by their shape."""

    needs_labels: ClassVar[bool] = True
    ranges: ClassVar[Ranges] = {"gamma": "[0, inf)", "formula": FORMULAS}

    def __init__(
        self,
        gamma: float = 1.5,
        temperature: float | Schedule = 1.0,
        formula: str = "paper",
        weight: float | Schedule | None = None,
    ) -> None:
        super().__init__(weight)
        check_temperature(temperature)
        if formula not in FORMULAS:
            raise ValueError(f"formula={formula}: unknown. Fix: one of {', '.join(FORMULAS)}")
        self.gamma, self.temperature, self.formula = gamma, temperature, formula

    def forward(self, student: ModelOutputs, teacher: ModelOutputs, target: Tensor) -> Tensor:
        """Return target term + gamma * non-target term, a scalar."""
        temperature = value_at(self.temperature, self.epoch)
        return nkd_loss(
            student.logits, teacher.logits, target, self.gamma, temperature, self.formula
        )
