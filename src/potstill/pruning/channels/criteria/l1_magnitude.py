"""L1 magnitude of a channel's weights (Li et al. 2017, arXiv:1608.08710)."""

from torch import Tensor

from potstill.pruning.channels.criteria.base import Criterion, over_members, to_mean_one
from potstill.pruning.channels.criteria.per_channel import weight_scores
from potstill.pruning.channels.groups import ChannelGroup


class L1Magnitude(Criterion):
    """Mean over coupled layers of sum |w|, over the layer's mean (DepGraph, arXiv:2301.12900)."""

    def __call__(self, group: ChannelGroup) -> Tensor | None:
        """Return one score a channel."""
        return to_mean_one(over_members(group, lambda m: weight_scores(m, lambda w: w.abs())))
