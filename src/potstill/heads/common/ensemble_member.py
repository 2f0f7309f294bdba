"""Any head on a single member of a teacher ensemble."""

from dataclasses import replace
from typing import ClassVar

from torch import Tensor, nn

from potstill.config.ranges import Ranges
from potstill.heads.base import Head
from potstill.models.features.outputs import ModelOutputs


class EnsembleMember(Head):
    """Apply `head` to the teacher ensemble's member number `member` as if it were the teacher.

    Kind, weight and views are the wrapped head's. In a config, with features of the second
    member and the logits of the whole ensemble:

        module:
          heads:
            kd: {_target_: potstill.heads.kd.KD, temperature: 4.0}
            at_of_1:
              _target_: potstill.heads.common.ensemble_member.EnsembleMember
              member: 1
              head: {_target_: potstill.heads.at.AT}

    Args:
        head: any head; its teacher layers are names within the member.
        member: position in the ensemble's list, from 0.
    """

    ranges: ClassVar[Ranges] = {"member": "[0, inf)"}

    def __init__(self, head: Head, member: int) -> None:
        if member < 0:
            raise ValueError(f"member must be 0 or more, got {member}")
        prefix = f"members.{member}"
        # The first pair is the member itself, for its logits; the student's are known.
        theirs = (prefix, *(f"{prefix}.{layer}" for layer in head.teacher_layers))
        super().__init__(head.weight, ("", *head.student_layers), theirs)
        self.head, self.prefix = head, prefix
        self.kind = head.kind  # type: ignore[misc]
        self.default_weight = head.default_weight  # type: ignore[misc]
        self.num_views = head.num_views  # type: ignore[misc]
        self.needs_labels = head.needs_labels  # type: ignore[misc]

    def attach(self, student: nn.Module, teacher: nn.Module, targets: Tensor | None = None) -> None:
        """Attach the head to the student and the member."""
        self.head.attach(student, teacher.get_submodule(self.prefix), targets)

    def bind(self, student: ModelOutputs, teacher: ModelOutputs) -> None:
        """Build the head's adapters for the member's shapes."""
        self.head.bind(student, self._of_member(teacher))

    def export(self, student: nn.Module) -> nn.Module:
        """Return the head's export of the student."""
        return self.head.export(student)

    def forward(self, student: ModelOutputs, teacher: ModelOutputs, target: Tensor) -> Tensor:
        """Return the head's loss against the member, a scalar."""
        self.head.epoch = self.epoch
        return self.head(student, self._of_member(teacher), target)

    def _of_member(self, teacher: ModelOutputs) -> ModelOutputs:
        inside = f"{self.prefix}."
        features = {
            name.removeprefix(inside): value
            for name, value in teacher.features.items()
            if name.startswith(inside)
        }
        views = tuple(self._of_member(view) for view in teacher.views)
        logits = teacher.features[self.prefix]
        return replace(teacher, logits=logits, features=features, views=views)
