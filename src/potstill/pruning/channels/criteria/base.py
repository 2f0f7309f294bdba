"""Interface of channel criteria: a group of coupled channels in, one score a channel out."""

from collections.abc import Callable
from typing import ClassVar

import torch
from torch import Tensor, nn

from potstill.pruning.channels.groups import ChannelGroup, Member
from potstill.pruning.channels.statistics import Batches, Loss


class Criterion:
    """Importance of channels; those with the lowest scores go first.

    `criterion(group)` returns (group.width,), or None where it cannot judge the group, which is
    then left alone. It reads weights from the group's members, which are a float32 copy on the
    CPU.

    Class attributes:
        needs: "weights"; or "batches" or "gradients", and `observe` is called before.
    """

    needs: ClassVar[str] = "weights"

    def observe(self, model: nn.Module, batches: Batches, loss: Loss | None) -> None:
        """Collect statistics over all `batches` of (image, target); the network stays as it was."""

    def __call__(self, group: ChannelGroup) -> Tensor | None:
        """Return one score a channel, (group.width,), or None."""
        raise NotImplementedError


def over_members(
    group: ChannelGroup, judge: Callable[[Member], Tensor | None], reduce: str = "mean"
) -> Tensor | None:
    """Return the sum or mean over members of their channels' scores, (group.width,).

    `judge` gives the scores (member.width,) of a member, or None for one that does not count;
    None if there is no other.
    """
    total = torch.zeros(group.width, dtype=torch.float64)
    count = torch.zeros(group.width, dtype=torch.float64)
    for member in group.members:
        if (found := judge(member)) is None:
            continue
        roots = torch.tensor(member.roots)
        total.index_add_(0, roots, found.detach().cpu().double()[list(member.channels)])
        count[roots.unique()] += 1
    if not count.any():
        return None
    return total if reduce == "sum" else total / count.clamp(min=1)


def to_mean_one(scores: Tensor | None) -> Tensor | None:
    """Return scores whose mean is 1, so that layers compare whatever the size of their weights."""
    if scores is None or not scores.any():
        return scores
    return scores / scores.mean()
