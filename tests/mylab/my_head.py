"""L1 distance of logits."""

from torch import Tensor

from potstill.heads.base import Head
from potstill.models.features.outputs import ModelOutputs


class MyHead(Head):
    """L1 distance of logits."""

    def forward(self, student: ModelOutputs, teacher: ModelOutputs, target: Tensor) -> Tensor:
        """Return the mean absolute difference."""
        return (student.logits - teacher.logits).abs().mean()
