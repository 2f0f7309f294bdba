"""Sums over all weights that belong to one channel of a layer."""

from collections.abc import Callable
from typing import Any

from torch import Tensor, nn

from potstill.libraries.torch import ConvNd
from potstill.pruning.channels.groups import Member


def channel_sums(values: Tensor, part: Any, side: str) -> Tensor:
    """Return (width,) from `values` shaped as the weight of `part`, for its "out" or "in" side.

    Of a convolution the weight is (C_out, C_in / groups, kH, kW); of a parameter without a layer
    the side names the dimension.
    """
    if isinstance(part, nn.Parameter):
        return values.movedim(int(side.removeprefix("dim")), 0).flatten(1).sum(1)
    if side == "out":
        return values.flatten(1).sum(1) if values.dim() > 1 else values
    groups = part.groups if isinstance(part, ConvNd) else 1
    grouped = values.reshape(groups, values.shape[0] // groups, values.shape[1], -1)
    return grouped.sum((1, 3)).flatten()


def weight_scores(member: Member, score: Callable[[Tensor], Tensor]) -> Tensor | None:
    """Return the sums of `score(weight)`; None for a member that is no layer with weights."""
    weight = getattr(member.part, "weight", None)
    if weight is None:
        return None
    return channel_sums(score(weight.detach()), member.part, member.side)
