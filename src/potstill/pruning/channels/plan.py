"""Pruning plans: the remaining channels of each layer, enough to rebuild the pruned shape."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from torch import nn

from potstill.errors import DataError
from potstill.models.parametrized import bake, shared_parameters
from potstill.pruning.channels.slicing import check_fits, find_part, slice_part

FORMAT = 1


@dataclass(frozen=True)
class Kept:
    """The channels that remain, ascending, of `of` channels in the dense network."""

    of: int
    channels: tuple[int, ...]

    def then(self, second: "Kept") -> "Kept":
        """Return both cuts as one; `second` counts in what this one leaves."""
        if second.of != len(self.channels):
            raise DataError(
                f"plan: the second step starts from {second.of} channels where the first leaves "
                f"{len(self.channels)}. Fix: join the plans in the order they were made"
            )
        return Kept(self.of, tuple(self.channels[index] for index in second.channels))

    def since(self, first: "Kept") -> "Kept":
        """Return the cut that takes what `first` leaves to this: the inverse of `then`."""
        place = {channel: index for index, channel in enumerate(first.channels)}
        return Kept(len(first.channels), tuple(place[channel] for channel in self.channels))


Sides = Mapping[str, Kept]


@dataclass(frozen=True)
class ChannelPlan:
    """What remains of each layer that was cut: {path: {side: Kept}}.

    A side is "out" (of a convolution or linear layer, and of layers that treat each channel
    alone, such as batch norm), "in", or "dim<n>" of a parameter that belongs to no such layer.
    """

    layers: Mapping[str, Sides] = field(default_factory=dict)

    def then(self, second: "ChannelPlan") -> "ChannelPlan":
        """Return one plan from the dense network; `second` counts in the pruned one's channels."""
        joined = {path: dict(sides) for path, sides in self.layers.items()}
        for path, side, kept in second.cuts():
            sides = joined.setdefault(path, {})
            sides[side] = sides[side].then(kept) if side in sides else kept
        return ChannelPlan(joined)

    def since(self, first: "ChannelPlan") -> "ChannelPlan":
        """Return the plan that takes what `first` leaves to this: `first.then(it)` is this."""
        rest: dict[str, dict[str, Kept]] = {}
        for path, side, kept in self.cuts():
            sides = first.layers.get(path, {})
            rest.setdefault(path, {})[side] = kept.since(sides[side]) if side in sides else kept
        return ChannelPlan(rest)

    def cuts(self) -> Iterator[tuple[str, str, Kept]]:
        """Yield (path, side, kept)."""
        for path, sides in self.layers.items():
            for side, kept in sides.items():
                yield path, side, kept

    def to_json(self) -> dict[str, Any]:
        """Return plain dicts, lists, integers and strings; equal lists of channels are kept once.

        {"format": 1, "channels": [[0, 2, 3], ...], "layers": {"conv1": {"out": [4, 0]}}}: of the
        4 outputs of conv1 those of list 0 remain.
        """
        lists: dict[tuple[int, ...], int] = {}
        layers: dict[str, dict[str, list[int]]] = {}
        for path, side, kept in self.cuts():
            number = lists.setdefault(kept.channels, len(lists))
            layers.setdefault(path, {})[side] = [kept.of, number]
        return {"format": FORMAT, "channels": [list(x) for x in lists], "layers": layers}

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> "ChannelPlan":
        """Return the plan that `to_json` wrote; DataError where it is damaged."""
        try:
            if content["format"] != FORMAT:
                raise ValueError(f"its format is {content['format']}, this version reads {FORMAT}")
            lists = [tuple(channels) for channels in content["channels"]]
            layers = {
                path: {side: _kept(of, lists[number]) for side, (of, number) in sides.items()}
                for path, sides in content["layers"].items()
            }
        except (KeyError, IndexError, TypeError, ValueError, AttributeError) as error:
            raise DataError(
                f"plan: damaged ({error}). Fix: take the file that the pruning wrote"
            ) from error
        return cls(layers)


def apply_plan(model: nn.Module, plan: ChannelPlan) -> nn.Module:
    """Cut the dense `model` in place, weights and buffers too, and return it.

    Parameters are replaced, so make the optimizer afterwards; those that layers share are shared
    again. Parametrized weights of layers that are cut become plain ones, as they are now.
    Gradients are dropped; modes, devices, dtypes and `requires_grad` stay.

    Raises:
        DataError: if the plan is another network's, before anything is changed.
    """
    for path, side, kept in plan.cuts():
        check_fits(model, path, side, kept.of)
    bake(model, plan.layers)
    shared = shared_parameters(model)
    for path, side, kept in plan.cuts():
        slice_part(find_part(model, path), side, kept.of, kept.channels)
    for (first, name), *others in shared:
        for module, other in others:
            setattr(module, other, getattr(first, name))
    return model


def _kept(of: int, channels: tuple[int, ...]) -> Kept:
    ascending = sorted(set(channels)) == list(channels)
    whole = all(type(channel) is int and 0 <= channel < of for channel in channels)
    if not (channels and ascending and whole):
        raise ValueError(f"no channels of {of}: {channels[:8]}")
    return Kept(of, channels)
