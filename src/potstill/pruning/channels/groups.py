"""Groups of coupled channels, which can only be removed together."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from potstill.errors import ConfigError
from potstill.libraries.torch import ConvNd
from potstill.models.copies import copy_network
from potstill.models.parametrized import bake
from potstill.pruning.channels.coupling.graph import Coupling, trace_coupling
from potstill.pruning.channels.coupling.places import Place

Class = dict[int, list[int]]  # the channels of one class, by the number of the place


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
    because a grouped convolution (or group norm) wants the same ones in each of its groups. The
    first member is the widest layer that makes them, and has one channel for each.
    """

    name: str
    width: int
    members: tuple[Member, ...]
    blocks: int = 1


def eval_copy(model: nn.Module) -> nn.Module:
    """Return a copy of `model` to try things on: frozen, float32, on the CPU, in eval mode."""
    copy = copy_network(model).to("cpu", torch.float32).eval().requires_grad_(False)
    bake(copy, [path for path, _ in copy.named_modules()])
    return copy


def find_groups(net: nn.Module, image_shape: Sequence[int], output: str = "") -> list[ChannelGroup]:
    """Return the groups of prunable channels of `net`, a `eval_copy`, the widest first.

    Left out are the logits, and channels that pass through attention or an operator that is not
    known: their layers keep all.

    Raises:
        ConfigError: if the network's channels cannot be followed.
    """
    coupling = trace_coupling(net, image_shape, output)
    order = {path: place for place, (path, _) in enumerate(net.named_modules())}
    roots = _roots(coupling)
    families = _families(coupling, set(roots))
    found = [_group(coupling.places, classes, roots, order) for classes in families]
    groups = [(key, group) for key, group in found if group.width // group.blocks >= 2]
    if not groups:
        raise ConfigError(
            f"model={type(net).__name__}: no layer has channels that can be pruned. "
            "Fix: take a convolutional network"
        )
    return [group for _, group in sorted(groups, key=lambda entry: entry[0])]


def _roots(coupling: Coupling) -> list[int]:
    """Return the places that make channels: the widest first, those near the logits before others.

    A shortcut that pads channels shows a narrow layer only some of them.
    """
    near = {path: place for place, path in enumerate(coupling.order)}
    made = [n for n, place in enumerate(coupling.places) if place.is_filter and place.path in near]
    return sorted(
        made, key=lambda n: (-len(coupling.places[n].labels), near[coupling.places[n].path])
    )


def _families(coupling: Coupling, roots: set[int]) -> list[list[Class]]:
    """Return the free classes that a root makes; in one list those that are in the same places."""
    classes: dict[int, Class] = {}
    for number, place in enumerate(coupling.places):
        for channel, label in enumerate(coupling.classes[place.labels].tolist()):
            if label in coupling.free:
                classes.setdefault(label, {}).setdefault(number, []).append(channel)
    families: dict[tuple[tuple[int, ...], ...], list[Class]] = {}
    for one in classes.values():
        if not roots.isdisjoint(one):
            families.setdefault((tuple(one), tuple(map(len, one.values()))), []).append(one)
    return list(families.values())


def _group(
    places: Sequence[Place], classes: list[Class], roots: list[int], order: Mapping[str, int]
) -> tuple[tuple[int, int], ChannelGroup]:
    """Return the group of a family, and its place in the order of groups."""
    rank, root = next((rank, number) for rank, number in enumerate(roots) if number in classes[0])
    classes = sorted(classes, key=lambda one: one[root][0])
    blocks, step = len(classes[0][root]), len(classes)
    others = [number for number in sorted(classes[0]) if number != root]
    members = tuple(_member(places[n], n, classes, blocks) for n in (root, *others))
    # Not the widest layer's name, which would change as pruning goes on.
    name = min((m.path for m in members if m.is_filter), key=lambda path: order[path])
    return (rank, classes[0][root][0]), ChannelGroup(name, blocks * step, members, blocks)


def _member(place: Place, number: int, classes: list[Class], blocks: int) -> Member:
    """Return the place as a member: channel `t` of the `n`-th class goes with one of its roots."""
    step, each = len(classes), len(classes[0][number])
    of_root = [t * blocks // max(each, blocks) * step for t in range(each)]
    pairs = sorted(
        (channel, start + n)
        for n, one in enumerate(classes)
        for channel, start in zip(one[number], of_root, strict=True)
    )
    channels, roots = zip(*pairs, strict=True)
    return Member(place.path, place.part, place.side, len(place.labels), channels, roots)
