"""Cubes of a channel's weights."""

from torch import Tensor

from potstill.pruning.channels.criteria.base import Criterion, over_members, to_mean_one
from potstill.pruning.channels.criteria.per_channel import weight_scores
from potstill.pruning.channels.groups import ChannelGroup


class Cubes(Criterion):
    """Mean over coupled layers of sum |w|^3, over the layer's mean."""

    def __call__(self, group: ChannelGroup) -> Tensor | None:
        """Return one score a channel."""
        return to_mean_one(over_members(group, lambda m: weight_scores(m, lambda w: w.abs() ** 3)))
