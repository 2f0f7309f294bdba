"""Layer-adaptive magnitude, LAMP (Lee et al. 2021, arXiv:2010.07611)."""

from torch import Tensor

from potstill.pruning.channels.criteria.base import Criterion, over_members
from potstill.pruning.channels.criteria.per_channel import weight_scores
from potstill.pruning.channels.groups import ChannelGroup
from potstill.pruning.scores import lamp


class LAMP(Criterion):
    """w^2 of a channel over the sum of w^2 of all channels at least as large (equation 1).

    Made for `scope: global`; with `scope: uniform` it orders channels as L2Magnitude does.
    """

    def __call__(self, group: ChannelGroup) -> Tensor | None:
        """Return one score a channel."""
        squares = over_members(group, lambda m: weight_scores(m, lambda w: w.square()))
        return None if squares is None else lamp(squares)
