"""Distillation with the reused teacher classifier (SimKD, Chen et al. 2022, arXiv:2203.14001)."""

from collections.abc import Iterator
from typing import ClassVar

import torch.nn.functional as F
from torch import Tensor, nn

from potstill.config.ranges import Ranges
from potstill.heads.base import Head
from potstill.heads.common.adapters import Shape, each_pair, map_pairs, match_size
from potstill.heads.common.locate import locate
from potstill.heads.common.reused_classifier import ReusedClassifier, ToMap
from potstill.heads.common.schedules import Schedule
from potstill.heads.common.teacher_classifier import copy_classifier
from potstill.models.features.outputs import ModelOutputs


class Projector(nn.Sequential):
    """Convolutions 1x1, 3x3, 1x1, each with batch-norm and ReLU, `target // factor` inside."""

    def __init__(self, width: int, target: int, factor: int) -> None:
        inside = max(target // factor, 1)
        layers: list[nn.Module] = []
        for channels, out, size in ((width, inside, 1), (inside, inside, 3), (inside, target, 1)):
            conv = nn.Conv2d(channels, out, size, padding=size // 2, bias=False)
            # Torch's own batch-norm, as these layers are deployed and quantized.
            layers += [conv, nn.BatchNorm2d(out), nn.ReLU()]
        super().__init__(*layers)


class SimKD(Head):
    """Match the teacher's last map, and classify with the teacher's own classifier.

    The authors train with this loss alone: no task loss, no soft labels. The student's own
    classifier then learns nothing; the accuracy that counts is that of `export(student)`, and
    the projector and the teacher's classifier belong to its size. The latter is a frozen copy.
    """

    ranges: ClassVar[Ranges] = {"factor": "[1, inf)"}

    kind: ClassVar[str] = "feature"

    def __init__(
        self,
        student: str = "level-1",
        teacher: str = "level-1",
        factor: int = 2,
        weight: float | Schedule | None = None,
    ) -> None:
        super().__init__(weight, student, teacher)
        if len(self.pairs) != 1:
            raise ValueError(f"SimKD takes one student and one teacher layer, got {self.pairs}")
        if factor < 1:
            raise ValueError(f"factor must be positive, got {factor}")
        self.factor = factor
        self.shapes: tuple[Shape, ...] = ()
        self._networks: tuple[nn.Module, ...] = ()  # in a tuple, so that nothing registers them

    def attach(self, student: nn.Module, teacher: nn.Module, targets: Tensor | None = None) -> None:
        """Store the networks until `bind`, which has the features."""
        self._networks = (student, teacher)

    def bind(self, student: ModelOutputs, teacher: ModelOutputs) -> None:
        """Build the projector, find the student's layer, copy the teacher's classifier.

        Equal shapes again change nothing.

        Raises:
            ValueError: if the teacher's logits are not one linear layer over its pooled map.
        """
        (shapes,) = each_pair(self, student, teacher, lambda *pair: pair)
        networks, self._networks = self._networks, ()
        if shapes == self.shapes:
            return
        student_net, teacher_net = networks
        ours, theirs = shapes
        device = student.logits.device
        (name,), (taught,) = self.student_layers, self.teacher_layers
        self.classifier = copy_classifier(teacher_net, teacher, taught, "SimKD")
        self.source = locate(student_net, student, [name]).sources[name]
        self.is_map = student.features[name].dim() == 4
        self.projector = Projector(ours[0], theirs[0], self.factor).to(device)
        self.shapes = shapes

    def forward(self, student: ModelOutputs, teacher: ModelOutputs, target: Tensor) -> Tensor:
        """Return the squared difference of the maps, averaged over all their values."""
        ((ours, theirs),) = map_pairs(self, student, teacher)
        ours, theirs = match_size(ours, theirs)
        return F.mse_loss(self._project(ours), theirs)

    def export(self, student: nn.Module) -> nn.Module:
        """Return the student with the projector and the teacher's classifier, parts shared."""
        deployed = ReusedClassifier(
            student,
            self.source.path,
            self.source.side,
            nn.Sequential(*self._resize()),
            self.projector,
            self.classifier,
        )
        deployed.training = student.training  # not by `train`, which would set the shared parts
        return deployed

    def _resize(self) -> Iterator[nn.Module]:
        (_, height, width), (_, height_t, width_t) = self.shapes
        if not self.is_map:
            yield ToMap()
        if height > height_t or width > width_t:
            yield nn.AdaptiveAvgPool2d((min(height, height_t), min(width, width_t)))

    def _project(self, feature: Tensor) -> Tensor:
        # One value a channel has no variance: running statistics serve.
        training = self.projector.training
        self.projector.train(training and feature.numel() > feature.shape[1])
        try:
            return self.projector(feature)
        finally:
            self.projector.train(training)
