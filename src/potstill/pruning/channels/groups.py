"""Groups of coupled channels, which can only be removed together."""

import copy
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import nn

from potstill.errors import ConfigError
from potstill.libraries.torch import ConvNd
from potstill.pruning.channels.dependency_graph import Item, coupled_items
from potstill.pruning.channels.slicing import is_depthwise


@dataclass(frozen=True)
class Member:
    """One side of one layer: its channel `channels[k]` goes with the group's `roots[k]`."""

    path: str
    part: Any
    side: str
    width: int
    channels: tuple[int, ...]
    roots: tuple[int, ...]

    @property
    def is_filter(self) -> bool:
        """Whether these are the outputs of a convolution or linear layer."""
        return self.side == "out" and isinstance(self.part, (ConvNd, nn.Linear))


@dataclass(frozen=True)
class ChannelGroup:
    """Channels 0 .. width - 1, and every layer in which they appear.

    `name` is the first layer that makes them. Channels a `width / blocks` apart go together,
    because a grouped convolution (or group norm) wants the same ones in each of its groups.
    """

    name: str
    width: int
    members: tuple[Member, ...]
    blocks: int = 1


def eval_copy(model: nn.Module) -> nn.Module:
    """Return a copy of `model` to try things on: float32, on the CPU, in eval mode."""
    return copy.deepcopy(model).to("cpu", torch.float32).eval().requires_grad_()


def find_groups(net: nn.Module, image_shape: Sequence[int]) -> list[ChannelGroup]:
    """Return the groups of prunable channels of `net`, a `eval_copy`, the widest first.

    Left out are the logits, and channels that pass through attention or a reshaping that mixes
    them: their layers keep all.

    Raises:
        ConfigError: if the network's channels cannot be followed.
    """
    groups: list[ChannelGroup] = []
    order = {path: place for place, (path, _) in enumerate(net.named_modules())}
    claimed: set[tuple[str, str, int]] = set()
    for items in coupled_items(net, image_shape):
        members = tuple(_member(item) for item in items if item.path is not None)
        places = {(m.path, m.side, channel) for m in members for channel in m.channels}
        apart = claimed.isdisjoint(places)
        claimed |= places
        if apart and all(item.followed for item in items):
            groups += _prunable(members, order)
    if not groups:
        raise ConfigError(
            f"model={type(net).__name__}: no layer has channels that can be pruned. "
            "Fix: take a convolutional network"
        )
    return groups


def is_under(path: str, prefixes: Sequence[str]) -> bool:
    """Return whether `path` is one of the modules `prefixes` or inside one."""
    return any(path == prefix or path.startswith(f"{prefix}.") for prefix in prefixes)


def _member(item: Item) -> Member:
    assert item.path is not None
    return Member(item.path, item.part, item.side, item.width, item.channels, item.roots)


def _prunable(members: tuple[Member, ...], order: Mapping[str, int]) -> list[ChannelGroup]:
    """Return a group for each set of layers that channels share: a narrow layer sees only some."""
    divided = [(member, count) for member in members if (count := _divisions(member.part)) > 1]
    blocks = math.lcm(*(count for _, count in divided))
    whole = all(m.channels == m.roots == tuple(range(members[0].width)) for m, _ in divided)
    strata: dict[tuple[int, ...], list[int]] = {}
    seen = [set(member.roots) for member in members]
    for root in members[0].roots:
        signature = tuple(n for n, roots in enumerate(seen) if root in roots)
        strata.setdefault(signature, []).append(root)
    if divided and not (whole and len(strata) == 1 and members[0].width % blocks == 0):
        return []
    shared = [([members[n] for n in places], roots) for places, roots in strata.items()]
    groups = [_stratum(those, roots, blocks, order) for those, roots in shared]
    return [group for group in groups if group.width // blocks >= 2]


def _stratum(
    members: list[Member], roots: list[int], blocks: int, order: Mapping[str, int]
) -> ChannelGroup:
    number = {root: place for place, root in enumerate(roots)}
    parts = []
    for member in members:
        pairs = [p for p in zip(member.channels, member.roots, strict=True) if p[1] in number]
        channels, old = zip(*pairs, strict=True)
        parts.append(replace(member, channels=channels, roots=tuple(number[r] for r in old)))
    # Not the widest layer's name, which would change as pruning goes on.
    name = min((m.path for m in parts if m.is_filter), key=lambda path: order[path])
    return ChannelGroup(name, len(roots), tuple(parts), blocks)


def _divisions(part: Any) -> int:
    if isinstance(part, nn.GroupNorm):
        return part.num_groups
    return part.groups if isinstance(part, ConvNd) and not is_depthwise(part) else 1
