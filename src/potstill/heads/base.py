"""Base class of heads. A head is a distillation loss: tensors in, one scalar out."""

from collections.abc import Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from potstill.config.ranges import Ranges
from potstill.heads.common.schedules import Schedule, value_at
from potstill.models.features.outputs import ModelOutputs

Layers = str | Sequence[str]


class Head(nn.Module):
    """A distillation loss over the outputs of two networks; subclasses implement `forward`.

    `forward(student, teacher, target)` returns a scalar, averaged over the batch and
    unweighted. It is called with half precision already raised to float32 and with
    autocast off. A head never runs a network, logs, or uses a trainer.

    Class attributes:
        kind: "response" (shares `alpha` with the task loss), "feature" or "relation"
            (added with a weight of their own).
        default_weight: the authors' weight, used where the config gives none.
        num_views: how many views of each image the head needs.
        needs_labels: whether `forward` reads `target`, so that every image must have one.
    """

    ranges: ClassVar[Ranges] = {
        "weight": "[0, inf)",
        "student": "not empty",
        "teacher": "not empty",
        "temperature": "(0, inf)",
    }

    kind: ClassVar[str] = "response"
    default_weight: ClassVar[float] = 1.0
    num_views: ClassVar[int] = 1
    needs_labels: ClassVar[bool] = False

    def __init__(
        self,
        weight: float | Schedule | None = None,
        student: Layers = (),
        teacher: Layers = (),
    ) -> None:
        super().__init__()
        self.weight = weight
        self.student_layers, self.teacher_layers = _as_tuple(student), _as_tuple(teacher)
        if len(self.student_layers) != len(self.teacher_layers):
            raise ValueError(
                f"student={list(self.student_layers)} and teacher={list(self.teacher_layers)} "
                "must name the same number of layers"
            )
        self.epoch = 0.0

    @property
    def pairs(self) -> tuple[tuple[str, str], ...]:
        """The (student layer, teacher layer) names whose features this head reads."""
        return tuple(zip(self.student_layers, self.teacher_layers, strict=True))

    def weight_at(self, epoch: float) -> float:
        """Return the weight at `epoch`: the given one, else the authors'."""
        return value_at(self.default_weight if self.weight is None else self.weight, epoch)

    def attach(self, student: nn.Module, teacher: nn.Module, targets: Tensor | None = None) -> None:
        """Receive the networks once, before `bind`: for heads that copy a layer or need all labels.

        `targets` are the labels of the training set by sample id, (num_samples,), where known.
        """

    def bind(self, student: ModelOutputs, teacher: ModelOutputs) -> None:
        """Build adapters from probed shapes; called once before the optimizer is made."""

    def export(self, student: nn.Module) -> nn.Module:
        """Return what is deployed: the student itself, unless the head's layers belong to it."""
        return student

    def forward(self, student: ModelOutputs, teacher: ModelOutputs, target: Tensor) -> Tensor:
        """Return the loss, a scalar averaged over the batch and unweighted.

        Args:
            student: its outputs, with the features of `student_layers`.
            teacher: its outputs, with the features of `teacher_layers`.
            target: class indices (N,), -1 for an image without a label, or probabilities (N, K)
                where images were mixed.
        """
        raise NotImplementedError

    def __call__(self, student: ModelOutputs, teacher: ModelOutputs, target: Tensor) -> Any:
        """Run `forward` in a float32 island: no autocast, half precision raised."""
        device = student.logits.device.type
        if not torch.is_autocast_enabled(device):  # to leave it costs as much as a small loss
            return super().__call__(student.promoted(), teacher.promoted(), target)
        with torch.autocast(device, enabled=False):
            return super().__call__(student.promoted(), teacher.promoted(), target)

    def features(self, student: ModelOutputs, teacher: ModelOutputs) -> list[tuple[Tensor, Tensor]]:
        """Return the (student, teacher) feature tensors of `pairs`."""
        return [(student.features[ours], teacher.features[theirs]) for ours, theirs in self.pairs]


def _as_tuple(layers: Layers) -> tuple[str, ...]:
    return (layers,) if isinstance(layers, str) else tuple(layers)


def check_temperature(temperature: float | Schedule) -> None:
    """Raise where a constant temperature is not positive and finite."""
    if not callable(temperature) and not 0 < temperature < float("inf"):
        raise ValueError(f"temperature must be positive, got {temperature}")
