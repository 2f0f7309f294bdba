"""Student, teacher and heads: feature extraction, adapter binding and the teacher's forward."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from potstill.errors import ConfigError
from potstill.heads.base import Head
from potstill.models.copies import copy_network
from potstill.models.features.extractor import FeatureExtractor
from potstill.models.features.logits_alone import logits_alone
from potstill.models.features.outputs import ModelOutputs
from potstill.models.plain import check_plain
from potstill.teacher.cache.cached_teacher import CachedTeacher
from potstill.teacher.cache.open import uncacheable
from potstill.teacher.folded import FoldedTeacher
from potstill.teacher.frozen import FrozenTeacher
from potstill.training.fast_module import FastModule
from potstill.training.precision import compiled, lay_out


class StudentTeacher(FastModule):
    """A student, a teacher and the heads that compare their outputs.

    A network that returns more than logits returns them alone from `bind_networks` on; see
    `logits_alone`.

    Args:
        student: images (N, C, H, W) in, logits (N, K) out, or several outputs with them.
        teacher: what it learns from; frozen here, never saved.
        heads: distillation losses by name.
        image_shape: (C, H, W), for probing layer shapes.
        channels_last: lay the weights out so while training.
        compiled: compile the student's step; its heads may read no layer of it.

    Attributes:
        folded: a faster copy of the teacher that runs in its place, where the heads allow one.
        cached: the teacher's cached outputs, where there are any.
        teacher_moves: whether something changes the teacher, which rules both out.

    Raises:
        ConfigError: if there are heads and no teacher, or the other way round, or a network is
            compiled, scripted or quantized.
    """

    def __init__(
        self,
        student: nn.Module,
        teacher: nn.Module | None,
        heads: Mapping[str, Head],
        image_shape: tuple[int, ...],
        channels_last: bool,
        compiled: bool,
    ) -> None:
        super().__init__()
        for name, network in {"student": student, "teacher": teacher}.items():
            if network is not None:
                check_plain(network, f"module.{name}", "train")
        if bool(heads) != (teacher is not None):
            raise ConfigError("module.heads: heads and teacher go together. Fix: give both or none")
        self.student = student
        self.heads = nn.ModuleDict(dict(heads))
        self.teacher = None if teacher is None else FrozenTeacher(teacher)
        self.image_shape = tuple(image_shape)
        self.channels_last, self.compiled = channels_last, compiled
        self.folded: FoldedTeacher | None = None
        self.cached: CachedTeacher | None = None
        self.teacher_moves = False
        self._deployed: tuple[nn.Module, ...] = (student,)

    def forward(self, image: Tensor) -> Tensor:
        """Return the logits (N, K) of the network that is deployed."""
        return self._deployed[0](image)

    def replace_student(self, network: nn.Module) -> None:
        """Put another network in the student's place; before it trains, `bind_networks` is due."""
        self.student = network
        self._deployed = (network,)

    def bind_networks(self, targets: Tensor | None = None) -> ModelOutputs:
        """Probe both networks, bind the heads to them, and return the student's outputs.

        Args:
            targets: labels by sample id, if known.

        Raises:
            ConfigError: if a layer does not exist or the networks' outputs differ.
        """
        if self.teacher_moves or uncacheable(self.teacher_layers):
            self.folded = self.cached = None
        logits_alone(self.student, self.image_shape, key="module.student")
        self._student_extractor = self._extractor(self.student, 0)
        with self._naming_heads(0):
            outputs = self._student_extractor.probe()
        _num_outputs(outputs, "module.student")
        self._deployed = (self.student,)  # a callback may have put another in its place
        if self.teacher is not None:
            self._bind(outputs, self.teacher, targets)
        if self.channels_last:  # last: neither heads nor callbacks have to know
            lay_out(self.student)
        if self.compiled:
            self._student_extractor.call = compiled(self.student)
        return outputs

    def _extractor(self, network: nn.Module, side: int) -> FeatureExtractor:
        names = [pair[side] for head in self._heads() for pair in head.pairs]
        with self._naming_heads(side):
            return FeatureExtractor(network, names, self.image_shape)

    @contextmanager
    def _naming_heads(self, side: int) -> Iterator[None]:
        """Make `layer=NAME` of an error the key of the head that reads this layer."""
        try:
            yield
        except ConfigError as error:
            text = str(error)
            for name, head in self.heads.items():
                layers = {pair[side] for pair in getattr(head, "pairs", ())}
                if any(text.startswith(f"layer={layer}:") for layer in layers):
                    key = f"module.heads.{name}.{('student', 'teacher')[side]}"
                    raise ConfigError(f"{key}{text.removeprefix('layer')}") from error
            raise

    @property
    def student_layers(self) -> tuple[str, ...]:
        """The student's layers that heads read, each once."""
        return tuple(dict.fromkeys(pair[0] for head in self._heads() for pair in head.pairs))

    @property
    def teacher_layers(self) -> tuple[str, ...]:
        """The teacher's layers that heads read, each once."""
        return tuple(dict.fromkeys(pair[1] for head in self._heads() for pair in head.pairs))

    def _heads(self) -> list[Head]:
        return [head for head in self.heads.values() if isinstance(head, Head)]

    def _bind(self, student: ModelOutputs, teacher: FrozenTeacher, targets: Tensor | None) -> None:
        self._teacher_extractor = self._extractor(self._teacher_network(teacher.network), 1)
        with self._naming_heads(1):
            outputs = self._teacher_extractor.probe()
        if not isinstance(outputs.logits, Tensor):
            logits_alone(teacher.network, self.image_shape, key="module.teacher", trains=False)
            self._teacher_extractor = self._extractor(self._teacher_network(teacher.network), 1)
            outputs = self._teacher_extractor.probe()
        if self.folded is not None:  # a traced network's own call looks for errors to explain
            self._teacher_extractor.call = self._teacher_extractor.network.forward
        ours, theirs = student.logits.shape[1], _num_outputs(outputs, "module.teacher")
        if ours != theirs:
            raise ConfigError(
                f"module.teacher.num_classes={theirs}: the student has {ours}. "
                "Fix: a teacher trained on the same classes, or of as many outputs"
            )
        for name, head in self.heads.items():
            if isinstance(head, Head):
                try:
                    head.attach(self.student, teacher.network, targets)
                    head.bind(student, outputs)
                except ValueError as error:
                    raise ConfigError(f"module.heads.{name}: {error}") from error
        self._deployed = (self.export_student(),)

    def _teacher_network(self, teacher: nn.Module) -> nn.Module:
        """Return the network that runs as the teacher: its folded copy, or itself laid out."""
        if self.folded is not None:
            return self.folded.network
        if not self.channels_last:
            return teacher
        return lay_out(teacher if self.teacher_moves else copy_network(teacher))

    def export_student(self) -> nn.Module:
        """Return what is deployed: the student, with the layers a head adds to it (SimKD)."""
        network = self.student
        for head in self._heads():
            network = head.export(network)
        return network

    def _place_teacher(self) -> None:
        if self.teacher is not None:
            self.teacher.to(self.device)
            self.teacher.check_eval()
            self._teacher_extractor.network.to(self.device)

    @torch.no_grad()
    def _forward_teacher(self, image: Any, sample_id: Tensor | None) -> ModelOutputs:
        """Return the teacher's outputs for a batch: from the cache, where there is one."""
        has_own_arithmetic = self.folded is not None or self.cached is not None
        if not has_own_arithmetic or not torch.is_autocast_enabled(self.device.type):
            return self._teacher_outputs(image, sample_id)
        with torch.autocast(self.device.type, enabled=False):
            return self._teacher_outputs(image, sample_id)

    def _teacher_outputs(self, image: Any, sample_id: Tensor | None) -> ModelOutputs:
        if self.cached is None:
            return self._forward_views(self._teacher_extractor, image, sample_id)
        return self.cached(self._teacher_extractor, image, sample_id, self.current_epoch)

    def _forward_views(
        self, extractor: FeatureExtractor, image: Any, sample_id: Tensor | None
    ) -> ModelOutputs:
        if isinstance(image, Tensor):
            return extractor(image, sample_id)
        first, *others = (extractor(view, sample_id) for view in image)
        return ModelOutputs(first.logits, first.features, sample_id, tuple(others))


def _num_outputs(outputs: ModelOutputs, key: str) -> int:
    """Return K of outputs (N, K).

    Raises:
        ConfigError: if they are of another shape; `key` is the network's.
    """
    shape = tuple(outputs.logits.shape)
    if len(shape) != 2:
        raise ConfigError(
            f"{key}: returns {shape} for {shape[0]} images. Fix: a network of outputs (N, K)"
        )
    return shape[1]
