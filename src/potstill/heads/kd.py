"""Response distillation with softened logits (Hinton et al. 2015, arXiv:1503.02531)."""

import torch.nn.functional as F
from torch import Tensor

from potstill.heads.base import Head, check_temperature
from potstill.heads.common.schedules import Schedule, value_at
from potstill.models.features.outputs import ModelOutputs


def kd_divergence(student: Tensor, teacher: Tensor, temperature: float) -> Tensor:
    """Return T^2 * KL(teacher || student) at temperature T, averaged over the batch.

    T^2 keeps the gradient's size independent of T (section 2 of the paper).
    Both logits are (N, K); the value is in nats.

    Example:
        >>> from torch import tensor
        >>> kd_divergence(tensor([[2.0, 0.0]]), tensor([[0.0, 0.0]]), temperature=1.0)
        tensor(0.4338)
    """
    log_p = F.log_softmax(student / temperature, dim=1)  # (N, K)
    log_q = F.log_softmax(teacher / temperature, dim=1)
    return temperature**2 * F.kl_div(log_p, log_q, reduction="batchmean", log_target=True)


class KD(Head):
    """Match the teacher's class distribution at a temperature, by KL divergence.

    Args:
        temperature: T, a number or a schedule.
        weight: a number, a schedule, or None for 1.
    """

    def __init__(
        self, temperature: float | Schedule = 4.0, weight: float | Schedule | None = None
    ) -> None:
        super().__init__(weight)
        check_temperature(temperature)
        self.temperature = temperature

    def forward(self, student: ModelOutputs, teacher: ModelOutputs, target: Tensor) -> Tensor:
        """Return T^2 * KL(teacher || student), a scalar."""
        return kd_divergence(student.logits, teacher.logits, value_at(self.temperature, self.epoch))
