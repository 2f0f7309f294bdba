"""Curriculum temperature for knowledge distillation (Li et al. 2023, arXiv:2211.16231)."""

from typing import ClassVar

import torch
from torch import Tensor, nn

from potstill.config.ranges import Ranges
from potstill.heads.base import Head
from potstill.heads.common.schedules import Cosine, Schedule
from potstill.heads.kd import kd_divergence
from potstill.models.features.outputs import ModelOutputs


class _ScaleGradient(torch.autograd.Function):
    """The value itself; its gradient times `scale`."""

    @staticmethod
    def forward(ctx: torch.autograd.function.FunctionCtx, value: Tensor, scale: float) -> Tensor:
        ctx.scale = scale  # type: ignore[attr-defined]
        return value.clone()

    @staticmethod
    def backward(ctx: torch.autograd.function.FunctionCtx, *grads: Tensor) -> tuple[Tensor, None]:
        return grads[0] * ctx.scale, None  # type: ignore[attr-defined]


def scale_gradient(value: Tensor, scale: float) -> Tensor:
    """Return `value` with its gradient multiplied by `scale`; a negative one plays against it.

    Example:
        >>> from torch import tensor
        >>> value = tensor(3.0, requires_grad=True)
        >>> scale_gradient(value, -0.5).backward()
        >>> value.grad
        tensor(-0.5000)
    """
    return _ScaleGradient.apply(value, scale)


def ctkd_divergence(student: Tensor, teacher: Tensor, temperature: Tensor) -> Tensor:
    """Return T^2 * KL(teacher || student) at a learned temperature (), averaged over the batch."""
    return temperature**2 * kd_divergence(student / temperature, teacher / temperature, 1.0)


class CTKD(Head):
    """KD at one learned temperature that goes the way that makes the loss harder.

    T = start + span * sigmoid(g) with g = 1 at first; g descends on -lambda times the loss,
    lambda growing from 0 to 1 along half a cosine. The authors train g in the student's own
    optimizer, weight decay included, and count its epochs from 1.

    Args:
        t_start: the least temperature.
        t_span: how far it may rise; the authors' code calls it t_end.
        decay_epochs: epochs until lambda is 1.
        weight: a number, a schedule, or None for the authors' 0.9 (their task has 0.1).
    """

    ranges: ClassVar[Ranges] = {
        "t_start": "(0, inf)",
        "t_span": "(0, inf)",
        "decay_epochs": "(0, inf)",
    }

    default_weight = 0.9

    def __init__(
        self,
        t_start: float = 1.0,
        t_span: float = 20.0,
        decay_epochs: float = 10.0,
        weight: float | Schedule | None = None,
    ) -> None:
        super().__init__(weight)
        if t_start <= 0 or t_span <= 0:
            raise ValueError(f"t_start={t_start}, t_span={t_span}: must be positive")
        self.t_start, self.t_span = t_start, t_span
        self.scale = Cosine(0.0, -1.0, decay_epochs)
        self.g = nn.Parameter(torch.tensor(1.0))

    @property
    def temperature(self) -> Tensor:
        """The temperature now, (); its gradient reaches g reversed and scaled."""
        g = scale_gradient(self.g, self.scale(self.epoch))
        return self.t_start + self.t_span * g.sigmoid()

    def forward(self, student: ModelOutputs, teacher: ModelOutputs, target: Tensor) -> Tensor:
        """Return T^2 * KL(teacher || student) at the learned T, a scalar."""
        return ctkd_divergence(student.logits, teacher.logits, self.temperature)
