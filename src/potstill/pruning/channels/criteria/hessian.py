"""Optimal brain damage: the diagonal of the Hessian (LeCun et al. 1990).

Section 2.2 of "Optimal Brain Damage", NIPS 2; the diagonal is the empirical Fisher information,
the mean square of one image's gradient (Theis et al. 2018, arXiv:1801.05787).
"""

import torch
from torch import Tensor, nn

from potstill.pruning.channels.criteria.base import Criterion, over_members
from potstill.pruning.channels.criteria.per_channel import channel_sums
from potstill.pruning.channels.groups import ChannelGroup, Member
from potstill.pruning.channels.statistics import Batches, Loss, gradients


class Hessian(Criterion):
    """Half the sum of h w^2 over a channel's weights; coupled layers add up.

    Runs backward once an image, so a few hundred images are enough.
    """

    needs = "gradients"

    def __init__(self) -> None:
        self.fisher: dict[str, Tensor] = {}

    def observe(self, model: nn.Module, batches: Batches, loss: Loss | None) -> None:
        """Average squared gradients over all images of all batches."""
        assert loss is not None
        sums: dict[str, Tensor] = {}
        count = 0
        for found in gradients(model, batches, loss, each=True):
            for name, grad in found.items():
                sums[name] = sums.get(name, torch.zeros_like(grad)) + grad.square()
            count += 1
        self.fisher = {name: total.float().cpu() / count for name, total in sums.items()}

    def __call__(self, group: ChannelGroup) -> Tensor | None:
        """Return one score a channel."""
        return over_members(group, self._saliency, reduce="sum")

    def _saliency(self, member: Member) -> Tensor | None:
        weight = getattr(member.part, "weight", None)
        fisher = self.fisher.get(f"{member.path}.weight")
        if weight is None or fisher is None:
            return None
        saliency = channel_sums(weight.detach().square() * fisher / 2, member.part, member.side)
        bias = self.fisher.get(f"{member.path}.bias")
        if bias is None or member.side == "in":
            return saliency
        return saliency + member.part.bias.detach().square() * bias / 2
