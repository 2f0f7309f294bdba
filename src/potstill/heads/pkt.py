"""Probabilistic knowledge transfer (Passalis and Tefas 2018, arXiv:1803.10837)."""

import torch
from torch import Tensor

from potstill.heads.base import Head, Layers
from potstill.heads.common.gather import gather
from potstill.heads.common.schedules import Schedule
from potstill.heads.common.shapes import to_pooled
from potstill.models.features.outputs import ModelOutputs

EPS = 1e-7  # the authors': added to norms and to probabilities


def neighbour_probability(feature: Tensor) -> Tensor:
    """Return each image's distribution over the batch, (N, N), by cosine scaled to [0, 1].

    Example:
        >>> from torch import tensor
        >>> neighbour_probability(tensor([[1.0, 0.0], [0.0, 1.0]]))
        tensor([[0.6667, 0.3333],
                [0.3333, 0.6667]])
    """
    feature = feature / (feature.norm(dim=1, keepdim=True) + EPS)  # (N, D)
    similarity = (feature @ feature.T + 1) / 2
    return similarity / similarity.sum(1, keepdim=True)


def pkt_loss(student: Tensor, teacher: Tensor) -> Tensor:
    """Return KL(teacher || student) of those distributions, averaged over all N^2 entries.

    D may differ between the two.
    """
    p, q = neighbour_probability(student), neighbour_probability(teacher)
    return (q * ((q + EPS).log() - (p + EPS).log())).mean()


class PKT(Head):
    """Match which images of the batch, that of all processes, lie near each other.

    Layers of any shape are averaged over positions first.
    """

    kind = "relation"
    default_weight = 30000.0

    def __init__(
        self,
        student: Layers = "pooled",
        teacher: Layers = "pooled",
        weight: float | Schedule | None = None,
    ) -> None:
        super().__init__(weight, student, teacher)

    def forward(self, student: ModelOutputs, teacher: ModelOutputs, target: Tensor) -> Tensor:
        """Return the divergence, summed over layers, a scalar."""
        losses = [
            pkt_loss(gather(to_pooled(ours)), gather(to_pooled(theirs)))
            for ours, theirs in self.features(student, teacher)
        ]
        return torch.stack(losses).sum()
