"""Channel index maps through reshape, flatten and padding."""

from collections.abc import Callable
from typing import Any

Channels = list[Any]  # of torch-pruning: where a channel is (`idx`), and its root
Move = Callable[[Channels], Channels]
Shape = tuple[int, ...]


def shifted(by: int, width: int) -> Move:
    """Return the move by `by` places into a layer of `width`; what falls outside is gone."""

    def shift(channels: Channels) -> Channels:
        moved = [channel._replace(idx=channel.idx + by) for channel in channels]
        return [channel for channel in moved if 0 <= channel.idx < width]

    return shift


def spread(stride: int) -> Move:
    """Return the move of each channel to the `stride` features that flattening makes of it."""

    def move(channels: Channels) -> Channels:
        return [c._replace(idx=c.idx * stride + k) for c in channels for k in range(stride)]

    return move


def gathered(stride: int) -> Move:
    """Return the move back from features to channels."""

    def move(channels: Channels) -> Channels:
        return list({c.idx // stride: c._replace(idx=c.idx // stride) for c in channels}.values())

    return move


def features_a_channel(before: Shape, after: Shape) -> int:
    """Return how many features a reshape that `keeps_channels` makes of each channel.

    Example:
        >>> features_a_channel((1, 8, 4, 4), (1, 128))
        16
    """
    channels_last = before[-1] == after[-1]
    return after[1] // before[1] if len(after) == 2 and not channels_last else 1


def keeps_channels(before: Shape, after: Shape) -> bool:
    """Return whether a reshape leaves channels in order: (N, C, ...) flattened, or tokens."""
    maps = before[:2] == after[:2] and len(before) != 3
    flat = len(after) == 2 and before[0] == after[0]
    tokens = before[-1] == after[-1] and min(len(before), len(after)) <= 3
    scale = len(before) == 1 and max(after) == before[0]  # (C,) as (1, C, 1, 1)
    return maps or flat or tokens or scale
