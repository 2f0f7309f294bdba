"""Multi-level logit distillation (Jin et al., CVPR 2023)."""

from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import Tensor

from potstill.config.ranges import Ranges
from potstill.heads.base import Head, check_temperature
from potstill.heads.common.gather import gather
from potstill.heads.common.schedules import Schedule
from potstill.heads.kd import kd_divergence
from potstill.models.features.outputs import ModelOutputs

FORMULAS = ("paper", "official_code")
WEAK_AGAIN = (2.0, 6.0)  # where the authors' strong KL reads the weak view's logits


def class_correlation(student: Tensor, teacher: Tensor, temperature: float) -> Tensor:
    """Return the squared difference of the (K, K) matrices p^T p, over K, of logits (N, K)."""
    p, q = (student / temperature).softmax(1), (teacher / temperature).softmax(1)
    return (p.T @ p - q.T @ q).square().sum() / student.shape[1]


def batch_correlation(student: Tensor, teacher: Tensor, temperature: float) -> Tensor:
    """Return the squared difference of the (N, N) matrices p p^T, over N, of logits (N, K)."""
    p, q = (student / temperature).softmax(1), (teacher / temperature).softmax(1)
    return (p @ p.T - q @ q.T).square().sum() / student.shape[0]


def confidence_shares(teacher: Tensor) -> tuple[Tensor, Tensor]:
    """Return which shares of images and of classes the teacher is less sure of than median.

    The authors mean to mask by these, but multiply losses that are already averaged.
    """
    probability = teacher.softmax(1)  # (N, K)
    images, classes = probability.amax(1), probability.sum(0)
    return (
        (images <= images.quantile(0.5)).to(teacher.dtype).mean(),
        (classes <= classes.quantile(0.5)).to(teacher.dtype).mean(),
    )


def mlkd_as_coded(
    weak: tuple[Tensor, Tensor], strong: tuple[Tensor, Tensor], temperatures: Sequence[float]
) -> tuple[Tensor, Tensor, Tensor]:
    """Return (instance, class, batch) terms of the authors' code from two views' logits.

    A view is (student, teacher), each (N, K). Correlations of the strong view are left out,
    and at T = 2 and 6 the strong view's KL is that of the weak view.
    """
    images, classes = confidence_shares(weak[1])
    instance = weak[0].new_zeros(())
    for temperature in temperatures:
        second = weak if temperature in WEAK_AGAIN else strong
        instance = instance + images * kd_divergence(*weak, temperature)
        instance = instance + kd_divergence(*second, temperature)
    by_class = sum((class_correlation(*weak, t) for t in temperatures), weak[0].new_zeros(()))
    by_batch = sum((batch_correlation(*weak, t) for t in temperatures), weak[0].new_zeros(()))
    return instance, classes * by_class, images * by_batch


def mlkd_as_written(
    weak: tuple[Tensor, Tensor], strong: tuple[Tensor, Tensor], temperatures: Sequence[float]
) -> tuple[Tensor, Tensor, Tensor]:
    """Return (instance, class, batch) terms of the paper: all of both views, nothing masked."""
    cases = [(view, temperature) for view in (weak, strong) for temperature in temperatures]
    return (
        torch.stack([kd_divergence(*view, t) for view, t in cases]).sum(),
        torch.stack([class_correlation(*view, t) for view, t in cases]).sum(),
        torch.stack([batch_correlation(*view, t) for view, t in cases]).sum(),
    )


class MLKD(Head):
    """Match images, classes and the batch at several temperatures, in two views.

    The authors' task loss is 0.1 of each view, their second view RandAugment(2, 10). The batch
    is that of all processes.

    Args:
        temperatures: all are summed.
        formula: "official_code" for what the authors' results were made with, or "paper".
        weight: a number, a schedule, or None for the authors' 0.9.
    """

    ranges: ClassVar[Ranges] = {"temperatures": "(0, inf)", "formula": FORMULAS}

    num_views = 2
    default_weight = 0.9

    def __init__(
        self,
        temperatures: Sequence[float] = (4.0, 2.0, 3.0, 5.0, 6.0),
        formula: str = "official_code",
        weight: float | Schedule | None = None,
    ) -> None:
        super().__init__(weight)
        for temperature in temperatures:
            check_temperature(temperature)
        if formula not in FORMULAS or not temperatures:
            raise ValueError(
                f"formula={formula}, temperatures={list(temperatures)}: "
                f"Fix: one of {', '.join(FORMULAS)}, and at least one temperature"
            )
        self.temperatures, self.formula = tuple(temperatures), formula

    def forward(self, student: ModelOutputs, teacher: ModelOutputs, target: Tensor) -> Tensor:
        """Return the sum of the instance, class and batch terms, a scalar."""
        weak = gather(student.logits), gather(teacher.logits)
        strong = gather(student.views[0].logits), gather(teacher.views[0].logits)
        terms = mlkd_as_written if self.formula == "paper" else mlkd_as_coded
        return torch.stack(terms(weak, strong, self.temperatures)).sum()
