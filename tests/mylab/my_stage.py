"""The last linear layer as a product of two, with singular vectors of the old one."""

import torch
from torch import nn

from potstill.pipeline.stages.base import Stage
from potstill.pipeline.stages.context import StageContext


def low_rank(network: nn.Sequential, rank: int) -> nn.Module:
    """Put two linear layers of `rank` values between them in place of the last one."""
    last = network[-1]
    first, second = (
        nn.Linear(last.in_features, rank, bias=False),
        nn.Linear(rank, last.out_features),
    )
    return nn.Sequential(*network[:-1], first, second)


class LowRank(Stage):
    """Factor the classifier, as Denton et al. 2014 (arXiv:1404.0736), and train on."""

    def __init__(self, rank: int) -> None:
        self.rank = rank

    @torch.no_grad()
    def apply(self, network: nn.Module, context: StageContext) -> nn.Module:
        """Return the network with the best factors of its classifier."""
        old = network[-1]
        u, s, v = torch.linalg.svd(old.weight, full_matrices=False)
        network = low_rank(network, self.rank)
        network[-2].weight.copy_(s[: self.rank, None] * v[: self.rank])
        network[-1].weight.copy_(u[:, : self.rank])
        network[-1].bias.copy_(old.bias)
        return network

    def describe(self) -> dict[str, object]:
        """Return what rebuilds the shape."""
        return {"kind": "mylab:low_rank", "rank": self.rank}
