"""Adaptive target enhancement, OFA-KD on logits (Hao et al. 2023, arXiv:2310.19444)."""

from typing import ClassVar

import torch.nn.functional as F
from torch import Tensor

from potstill.config.ranges import Ranges
from potstill.heads.base import Head, check_temperature
from potstill.heads.common.non_target import non_target, target_logit
from potstill.heads.common.schedules import Schedule, value_at
from potstill.models.features.outputs import ModelOutputs


def enhanced_cross_entropy(
    student: Tensor, teacher: Tensor, target: Tensor, eps: float, temperature: float
) -> Tensor:
    """Return -((1 + q_y)^eps - 1) log p_y - sum of q_k^eps log p_k over the others, batch mean.

    Logits are (N, K); p and q are the student's and the teacher's softmax at the temperature.

    Example:
        >>> from torch import tensor
        >>> student, teacher = tensor([[0.0, 0.0]]), tensor([[0.75, 0.25]]).log()
        >>> enhanced_cross_entropy(student, teacher, tensor([0]), eps=1.0, temperature=1.0)
        tensor(0.6931)
    """
    log_p = F.log_softmax(student / temperature, dim=1)
    log_q = F.log_softmax(teacher / temperature, dim=1)
    hit = ((1 + target_logit(log_q, target).exp()) ** eps - 1) * target_logit(log_p, target)
    miss = ((eps * non_target(log_q, target)).exp() * non_target(log_p, target)).sum(1)
    return -(hit + miss).mean()


class OFA(Head):
    """Match the teacher with the labelled class raised, for pairs of unlike architectures.

    Args:
        eps: exponent; 1 is cross-entropy under the teacher, more raises the labelled class. The
            authors take 1 to 1.5.
        temperature: of both networks' softmax; the authors' is 1.
        weight: a number, a schedule, or None for 1.
    """

    ranges: ClassVar[Ranges] = {"eps": "(0, inf)"}

    needs_labels: ClassVar[bool] = True

    def __init__(
        self,
        eps: float = 1.0,
        temperature: float | Schedule = 1.0,
        weight: float | Schedule | None = None,
    ) -> None:
        super().__init__(weight)
        check_temperature(temperature)
        if not 0 < eps < float("inf"):
            raise ValueError(f"eps must be positive, got {eps}")
        self.eps, self.temperature = eps, temperature

    def forward(self, student: ModelOutputs, teacher: ModelOutputs, target: Tensor) -> Tensor:
        """Return the enhanced cross-entropy, a scalar."""
        temperature = value_at(self.temperature, self.epoch)
        return enhanced_cross_entropy(student.logits, teacher.logits, target, self.eps, temperature)
