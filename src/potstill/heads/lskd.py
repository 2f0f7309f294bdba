"""Logit standardization in knowledge distillation (Sun et al. 2024, arXiv:2403.01427)."""

from typing import ClassVar

import torch
from torch import Tensor

from potstill.config.ranges import Ranges
from potstill.heads.base import Head, check_temperature
from potstill.heads.common.schedules import Schedule, value_at
from potstill.heads.dkd import dkd_divergence
from potstill.heads.kd import kd_divergence
from potstill.models.features.outputs import ModelOutputs

EPS = 1e-7  # the authors': added to the standard deviation


def standardize(logits: Tensor) -> Tensor:
    """Return (z - mean) / (1e-7 + std) of each row of (N, K), std with K - 1.

    Rows that vary by rounding alone become 0 with a gradient no larger than what comes in:
    1 / 1e-7 would overflow half precision on its way back (a classifier starting at zero).

    Example:
        >>> from torch import tensor
        >>> standardize(tensor([[2.0, 4.0, 6.0]]))
        tensor([[-1.,  0.,  1.]])
    """
    mean, std = logits.mean(1, keepdim=True), logits.std(1, keepdim=True)
    noise = 4 * torch.finfo(logits.dtype).eps * logits.abs().amax(1, keepdim=True)
    return (logits - mean) / torch.where(std > noise, std + EPS, 1.0)


class LSKD(Head):
    """KD or DKD on standardized logits; the task loss keeps the raw ones.

    Args:
        temperature: of the base loss, on logits of unit variance.
        base: "kd" or "dkd".
        alpha: of DKD (1 where not given); only with base="dkd".
        beta: of DKD (8 where not given); only with base="dkd".
        weight: a number, a schedule, or None for the authors' 9.
    """

    ranges: ClassVar[Ranges] = {
        "base": ("kd", "dkd"),
        "alpha": "[0, inf)",
        "beta": "[0, inf)",
    }

    default_weight = 9.0

    def __init__(
        self,
        temperature: float | Schedule = 2.0,
        base: str = "kd",
        alpha: float | None = None,
        beta: float | None = None,
        weight: float | Schedule | None = None,
    ) -> None:
        super().__init__(weight)
        check_temperature(temperature)
        if base not in ("kd", "dkd"):
            raise ValueError(f"base={base}: unknown. Fix: kd or dkd")
        if base == "kd" and (alpha is not None or beta is not None):
            raise ValueError(f"alpha={alpha}, beta={beta}: only base=dkd has them. Fix: base=dkd")
        self.temperature, self.base = temperature, base
        self.alpha = 1.0 if alpha is None else alpha
        self.beta = 8.0 if beta is None else beta

    def forward(self, student: ModelOutputs, teacher: ModelOutputs, target: Tensor) -> Tensor:
        """Return the base loss on standardized logits, a scalar."""
        ours, theirs = standardize(student.logits), standardize(teacher.logits)
        temperature = value_at(self.temperature, self.epoch)
        if self.base == "kd":
            return kd_divergence(ours, theirs, temperature)
        return dkd_divergence(ours, theirs, target, self.alpha, self.beta, temperature)
