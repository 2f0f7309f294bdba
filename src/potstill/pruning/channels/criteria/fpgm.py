"""Filter pruning via geometric median, FPGM (He et al. 2019, arXiv:1811.00250)."""

import torch
from torch import Tensor

from potstill.pruning.channels.criteria.base import Criterion, over_members, to_mean_one
from potstill.pruning.channels.groups import ChannelGroup, Member


class FPGM(Criterion):
    """Sum of Euclidean distances to the layer's other filters, over the layer's mean (eq. 6).

    A filter near the geometric median is one that the others can stand in for.
    """

    def __call__(self, group: ChannelGroup) -> Tensor | None:
        """Return one score a channel."""
        return to_mean_one(over_members(group, _distances))


def _distances(member: Member) -> Tensor | None:
    if not member.is_filter:
        return None
    filters = member.part.weight.detach().flatten(1).double()  # (C, n)
    # By the matrix product it is a hundred times quicker, and in float64 as good as exact.
    return torch.cdist(filters, filters, compute_mode="use_mm_for_euclid_dist").sum(1)
