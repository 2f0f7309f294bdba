"""Network slimming, the scale of batch norm (Liu et al. 2017, arXiv:1708.06519)."""

from torch import Tensor

from potstill.libraries.torch import BatchNorm
from potstill.pruning.channels.criteria.base import Criterion, over_members
from potstill.pruning.channels.groups import ChannelGroup, Member


class BatchNormScale(Criterion):
    """Mean |gamma| of a channel's batch norms, compared between layers as it is.

    Layers without batch norm are left alone. Train first, best with an L1 penalty on gamma: an
    untrained network has all gamma equal, which is refused.
    """

    def __call__(self, group: ChannelGroup) -> Tensor | None:
        """Return one score a channel; None where no batch norm follows."""
        return over_members(group, _scale)


def _scale(member: Member) -> Tensor | None:
    if not isinstance(member.part, BatchNorm) or member.part.weight is None:
        return None
    return member.part.weight.abs()
