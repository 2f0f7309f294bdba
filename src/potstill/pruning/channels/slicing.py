"""Slicing of one layer to some of its channels, weights and declared widths alike."""

from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from potstill.errors import DataError
from potstill.libraries.torch import BatchNorm, ConvNd

CUTTABLE = (
    *(ConvNd, nn.Linear, BatchNorm, nn.LayerNorm, nn.RMSNorm, nn.GroupNorm, nn.InstanceNorm2d),
    nn.PReLU,
)
PER_CHANNEL = ("weight", "bias", "running_mean", "running_var")


@runtime_checkable
class ChannelPad(Protocol):
    """A module that puts `before` and `after` channels of zeros around its input's."""

    before: int
    after: int


class Part(NamedTuple):
    """A layer, or a parameter of its own, and the module and name that hold it."""

    parent: nn.Module
    name: str
    part: Any


def find_part(model: nn.Module, path: str) -> Part:
    """Return the module or parameter at `path`; DataError where there is none."""
    parent_path, _, name = path.rpartition(".")
    try:
        parent = model.get_submodule(parent_path)
        return Part(parent, name, getattr(parent, name))
    except AttributeError:
        raise DataError(
            f"plan: the network has no layer {path}. Fix: build the network the plan was made for"
        ) from None


def is_depthwise(module: object) -> bool:
    """Return whether each channel of a convolution is filtered alone."""
    return (
        isinstance(module, ConvNd)
        and module.groups == module.in_channels == module.out_channels > 1
    )


def width_of(part: Any, side: str) -> int | None:
    """Return the number of channels on `side`; None for a layer that cannot be cut."""
    if isinstance(part, Tensor):
        return part.shape[int(side.removeprefix("dim"))]
    if isinstance(part, (nn.LayerNorm, nn.RMSNorm)):
        return part.normalized_shape[0] if len(part.normalized_shape) == 1 else None
    name = _width_name(part, side)
    return None if name is None else getattr(part, name)


def check_fits(model: nn.Module, path: str, side: str, width: int) -> None:
    """Raise DataError unless the layer at `path` has `width` channels on `side`."""
    part = find_part(model, path).part
    if isinstance(part, ChannelPad):  # it declares no width
        return
    found = width_of(part, side)
    if found != width:
        raise DataError(
            f"plan: {path} has {found} channels ({side}) where the plan starts from {width}. "
            "Fix: build the dense network the plan was made for"
        )


def slice_part(found: Part, side: str, of: int, kept: Sequence[int]) -> None:
    """Cut a layer or parameter down to the channels `kept` of the `of` on one side."""
    part, alone = found.part, is_depthwise(found.part)
    for name, dim, channels in _cuts(found, side, kept):
        holder = found.parent if isinstance(part, Tensor) else part
        setattr(holder, name, _taken(getattr(holder, name), dim, channels))
    if isinstance(part, ChannelPad):
        first, end = part.before, of - part.after
        part.before = sum(channel < first for channel in kept)
        part.after = sum(channel >= end for channel in kept)
    _declare(found, side, of, len(kept))
    if alone:
        part.in_channels = part.groups = len(kept)


def sliced_tensors(
    found: Part, side: str, kept: Sequence[int]
) -> list[tuple[Tensor, int, Sequence[int]]]:
    """Return the tensors that a cut slices, each with the dimension and what stays along it."""
    holder = found.parent if isinstance(found.part, Tensor) else found.part
    return [(getattr(holder, name), dim, rows) for name, dim, rows in _cuts(found, side, kept)]


def _cuts(found: Part, side: str, kept: Sequence[int]) -> list[tuple[str, int, Sequence[int]]]:
    part = found.part
    if isinstance(part, Tensor):
        return [(found.name, int(side.removeprefix("dim")), kept)]
    if isinstance(part, (ConvNd, nn.Linear)) and side == "in":
        # Every group of a convolution reads its inputs by the same rows of the weight.
        columns = part.weight.shape[1]
        return [("weight", 1, [channel for channel in kept if channel < columns])]
    return [(name, 0, kept) for name in PER_CHANNEL if getattr(part, name, None) is not None]


def _taken(tensor: Tensor, dim: int, kept: Sequence[int]) -> Tensor:
    index = torch.tensor(kept, device=tensor.device)
    cut = tensor.detach().index_select(dim, index)
    if isinstance(tensor, nn.Parameter):
        return nn.Parameter(cut, requires_grad=tensor.requires_grad)
    return cut


def _declare(found: Part, side: str, of: int, width: int) -> None:
    part = found.part
    holder = found.parent if isinstance(part, Tensor) else part
    if getattr(holder, "normalized_shape", None) == (of,):
        holder.normalized_shape = (width,)
    elif (name := _width_name(part, side)) is not None:
        setattr(part, name, width)


def _width_name(part: Any, side: str) -> str | None:
    if isinstance(part, ConvNd):
        return f"{side}_channels"
    if isinstance(part, nn.Linear):
        return f"{side}_features"
    if isinstance(part, (BatchNorm, nn.InstanceNorm2d)):
        return "num_features"
    if isinstance(part, nn.GroupNorm):
        return "num_channels"
    return "num_parameters" if isinstance(part, nn.PReLU) else None
