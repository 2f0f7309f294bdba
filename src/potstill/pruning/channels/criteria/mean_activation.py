"""Mean activation over a calibration set (Molchanov et al. 2017, arXiv:1611.06440, section 2.2)."""

from torch import Tensor, nn

from potstill.pruning.channels.criteria.base import Criterion, over_members, to_mean_one
from potstill.pruning.channels.groups import ChannelGroup, Member
from potstill.pruning.channels.statistics import Batches, Loss, mean_inputs


class MeanActivation(Criterion):
    """Mean |x| of a channel where the next layers read it, over the layer's mean."""

    needs = "batches"

    def __init__(self) -> None:
        self.inputs: dict[str, Tensor] = {}

    def observe(self, model: nn.Module, batches: Batches, loss: Loss | None) -> None:
        """Average over all images of all batches."""
        self.inputs = mean_inputs(model, batches)

    def __call__(self, group: ChannelGroup) -> Tensor | None:
        """Return one score a channel."""
        return to_mean_one(over_members(group, self._read))

    def _read(self, member: Member) -> Tensor | None:
        return self.inputs.get(member.path) if member.side == "in" else None
