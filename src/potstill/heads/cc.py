"""Correlation congruence (Peng et al. 2019, arXiv:1904.01802)."""

from typing import ClassVar

import torch
from torch import Tensor, nn

from potstill.config.ranges import Ranges
from potstill.errors import ConfigError
from potstill.heads.base import Head, Layers
from potstill.heads.common.gather import gather
from potstill.heads.common.schedules import Schedule
from potstill.heads.common.shapes import to_pooled
from potstill.models.features.outputs import ModelOutputs


def congruence(student: Tensor, teacher: Tensor) -> Tensor:
    """Return the product of neighbouring images' differences |s - t|, (N, D) each.

    Averaged over the N - 1 neighbours in batch order; 0 for a batch of one. This is the loss
    the author gave to RepDistiller.

    Example:
        >>> from torch import tensor
        >>> congruence(tensor([[1.0], [2.0], [3.0]]), tensor([[0.0], [0.0], [0.0]]))
        tensor(4.)
    """
    difference = (student - teacher).abs()
    product = (difference[:-1] * difference[1:]).sum()
    return product / max(len(difference) - 1, 1)


class CC(Head):
    """Match correlations between neighbours of the batch, that of all processes.

    Args:
        embed_dim: pooled features of both networks are embedded to this size by trained linear
            layers; None where they have the same size already.
        student: layer of the student.
        teacher: layer of the teacher.
        weight: a number, a schedule, or None for 0.02.
    """

    ranges: ClassVar[Ranges] = {"embed_dim": "[1, inf)"}

    kind = "relation"
    default_weight = 0.02

    def __init__(
        self,
        embed_dim: int | None = 128,
        student: Layers = "pooled",
        teacher: Layers = "pooled",
        weight: float | Schedule | None = None,
    ) -> None:
        super().__init__(weight, student, teacher)
        self.embed_dim = embed_dim
        self.embed = nn.ModuleList()

    def bind(self, student: ModelOutputs, teacher: ModelOutputs) -> None:
        """Make the embeddings, or check that none are needed."""
        sizes = [
            (ours.shape[1], theirs.shape[1]) for ours, theirs in self._pooled(student, teacher)
        ]
        if self.embed_dim is None:
            if unequal := [pair for pair in sizes if pair[0] != pair[1]]:
                raise ConfigError(
                    f"embed_dim=null: features have {unequal[0][0]} and {unequal[0][1]} channels. "
                    "Fix: embed_dim=128"
                )
            return
        self.embed = nn.ModuleList(
            nn.ModuleList(nn.Linear(size, self.embed_dim) for size in pair) for pair in sizes
        )

    def _pooled(self, student: ModelOutputs, teacher: ModelOutputs) -> list[tuple[Tensor, Tensor]]:
        pairs = self.features(student, teacher)
        return [(to_pooled(ours), to_pooled(theirs)) for ours, theirs in pairs]

    def forward(self, student: ModelOutputs, teacher: ModelOutputs, target: Tensor) -> Tensor:
        """Return the congruence loss, summed over layers, a scalar."""
        pairs = self._pooled(student, teacher)
        if self.embed_dim is not None:
            pairs = [
                (embed[0](ours), embed[1](theirs))  # type: ignore[index]
                for embed, (ours, theirs) in zip(self.embed, pairs, strict=True)
            ]
        losses = [congruence(gather(ours), gather(theirs)) for ours, theirs in pairs]
        return torch.stack(losses).sum()
