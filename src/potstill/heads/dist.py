"""DIST, correlation with a stronger teacher (Huang et al. 2022, arXiv:2205.10536)."""

from typing import ClassVar

import torch
from torch import Tensor

from potstill.config.ranges import Ranges
from potstill.heads.base import Head, check_temperature
from potstill.heads.common.gather import gather
from potstill.heads.common.schedules import Schedule, value_at
from potstill.models.features.outputs import ModelOutputs

EPS = 1e-8  # the authors': added to the product of the two norms


def pearson(student: Tensor, teacher: Tensor) -> Tensor:
    """Return the correlation of each row of (N, K) with the same row of the other, (N,).

    A row that varies by rounding alone correlates with nothing, and gets no gradient.

    Example:
        >>> from torch import tensor
        >>> rows = tensor([[1.0, 2.0, 4.0]])
        >>> pearson(rows, 1 - 2 * rows)
        tensor([-1.])
    """
    student, teacher = _centre(student), _centre(teacher)
    norms = student.norm(dim=1) * teacher.norm(dim=1)
    return (student * teacher).sum(1) / (norms + EPS)


def _centre(rows: Tensor) -> Tensor:
    """Subtract row means; without the mask, noise of size 1e-9 would be scaled up to 1."""
    centred = rows - rows.mean(1, keepdim=True)
    noise = 4 * torch.finfo(rows.dtype).eps * rows.norm(dim=1, keepdim=True)
    return centred.masked_fill(centred.norm(dim=1, keepdim=True) <= noise, 0.0)


def inter_class_relation(student: Tensor, teacher: Tensor) -> Tensor:
    """Return 1 - the mean correlation of each image's probabilities (N, K)."""
    return 1 - pearson(student, teacher).mean()


def intra_class_relation(student: Tensor, teacher: Tensor) -> Tensor:
    """Return 1 - the mean correlation of each class's probabilities (N, K) over the batch."""
    return inter_class_relation(student.T, teacher.T)


def dist_loss(student: Tensor, teacher: Tensor, beta: float, gamma: float, tau: float) -> Tensor:
    """Return tau^2 * (beta * inter + gamma * intra) on probabilities of logits (N, K)."""
    p, q = (student / tau).softmax(1), (teacher / tau).softmax(1)
    return tau**2 * (beta * inter_class_relation(p, q) + gamma * intra_class_relation(p, q))


class DIST(Head):
    """Match how probabilities rise and fall together, over classes and over the batch.

    The batch is that of all processes. The authors' tau is 4 on CIFAR and 1 on ImageNet.
    """

    ranges: ClassVar[Ranges] = {
        "beta": "[0, inf)",
        "gamma": "[0, inf)",
        "tau": "(0, inf)",
    }

    default_weight = 2.0

    def __init__(
        self,
        beta: float = 1.0,
        gamma: float = 1.0,
        tau: float | Schedule = 4.0,
        weight: float | Schedule | None = None,
    ) -> None:
        super().__init__(weight)
        check_temperature(tau)
        self.beta, self.gamma, self.tau = beta, gamma, tau

    def forward(self, student: ModelOutputs, teacher: ModelOutputs, target: Tensor) -> Tensor:
        """Return tau^2 * (beta * inter + gamma * intra), a scalar."""
        tau = value_at(self.tau, self.epoch)
        ours, theirs = gather(student.logits), gather(teacher.logits)
        return dist_loss(ours, theirs, self.beta, self.gamma, tau)
