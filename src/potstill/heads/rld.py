"""Refined logit distillation (RLD, Sun et al. 2024, arXiv:2408.07703)."""

from typing import ClassVar

from torch import Tensor

from potstill.config.ranges import Ranges
from potstill.heads.base import Head, check_temperature
from potstill.heads.common.non_target import labels, log_odds, target_logit
from potstill.heads.common.schedules import Schedule, value_at
from potstill.heads.dkd import binary_divergence
from potstill.heads.kd import kd_divergence
from potstill.models.features.outputs import ModelOutputs

HIDDEN = -1e9  # the authors' logit of a class that is left out


def confidence_divergence(
    student: Tensor, teacher: Tensor, target: Tensor, temperature: float
) -> Tensor:
    """Return T^2 * KL of the teacher's largest class against the student's labelled one.

    "Sample confidence": how sure the teacher is goes to the right class, wherever it put it.
    Logits are (N, K).
    """
    theirs = log_odds(teacher / temperature, teacher.argmax(1))
    ours = log_odds(student / temperature, target)
    return temperature**2 * binary_divergence(ours, theirs).mean()


def lower_classes_divergence(
    student: Tensor, teacher: Tensor, target: Tensor, temperature: float
) -> Tensor:
    """Return T^2 * KL over the classes that the teacher ranks below the labelled one.

    "Masked correlation": what it ranks as high or higher is left out of both, so that its errors
    teach nothing; an image of which no class is left counts as 0.

    Example:
        >>> from torch import tensor
        >>> student, teacher = tensor([[0.0, 0.0, 9.0]]), tensor([[3.0, 1.0, 5.0]])
        >>> lower_classes_divergence(student, teacher, tensor([0]), temperature=1.0)
        tensor(0.)
    """
    hidden = teacher >= target_logit(teacher, target)[:, None]
    ours, theirs = (
        (logits / temperature).masked_fill(hidden, HIDDEN) for logits in (student, teacher)
    )
    return temperature**2 * kd_divergence(ours, theirs, 1.0)


class RLD(Head):
    """Match the teacher's confidence at the labelled class, and the classes below that class.

    The authors warm the weight up over 20 epochs (CIFAR): `weight=WarmUp(1.0, 20)`.

    Args:
        temperature: of the classes below.
        alpha: weight of the confidence.
        beta: weight of the classes below.
        alpha_temperature: temperature of the confidence.
        weight: a number, a schedule, or None for 1.
    """

    ranges: ClassVar[Ranges] = {
        "alpha": "[0, inf)",
        "beta": "[0, inf)",
        "alpha_temperature": "(0, inf)",
    }

    needs_labels: ClassVar[bool] = True

    def __init__(
        self,
        temperature: float | Schedule = 4.0,
        alpha: float = 1.0,
        beta: float = 8.0,
        alpha_temperature: float = 1.0,
        weight: float | Schedule | None = None,
    ) -> None:
        super().__init__(weight)
        check_temperature(temperature)
        check_temperature(alpha_temperature)
        self.temperature, self.alpha_temperature = temperature, alpha_temperature
        self.alpha, self.beta = alpha, beta

    def forward(self, student: ModelOutputs, teacher: ModelOutputs, target: Tensor) -> Tensor:
        """Return alpha * confidence + beta * classes below, a scalar."""
        target, temperature = labels(target), value_at(self.temperature, self.epoch)
        both = student.logits, teacher.logits, target
        sure = confidence_divergence(*both, self.alpha_temperature)
        return self.alpha * sure + self.beta * lower_classes_divergence(*both, temperature)
