"""Regression on logits (Ba and Caruana 2014, arXiv:1312.6184).

Kim et al. 2021 (arXiv:2105.08919) compare it with KD.
"""

import torch.nn.functional as F
from torch import Tensor

from potstill.heads.base import Head
from potstill.heads.common.schedules import Schedule
from potstill.models.features.outputs import ModelOutputs


def logit_mse(student: Tensor, teacher: Tensor) -> Tensor:
    """Return the squared difference of logits (N, K), averaged over images and classes.

    Example:
        >>> from torch import tensor
        >>> logit_mse(tensor([[1.0, 3.0]]), tensor([[0.0, 0.0]]))
        tensor(5.)
    """
    return F.mse_loss(student, teacher)


class MSE(Head):
    """Match the teacher's logits by mean squared error, without a temperature."""

    def __init__(self, weight: float | Schedule | None = None) -> None:
        super().__init__(weight)

    def forward(self, student: ModelOutputs, teacher: ModelOutputs, target: Tensor) -> Tensor:
        """Return the mean squared difference of the logits, a scalar."""
        return logit_mse(student.logits, teacher.logits)
