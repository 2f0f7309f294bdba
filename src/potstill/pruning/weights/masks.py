"""Masks over single weights: buffers beside the weights, so that the state's keys never change.

A mask is a bool buffer `<weight>_mask` on the module that owns the weight; False is pruned.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from potstill.errors import ConfigError, nearest

PRUNABLE = (
    (nn.Conv1d, "weight"),
    (nn.Conv2d, "weight"),
    (nn.Conv3d, "weight"),
    (nn.Linear, "weight"),
    (nn.MultiheadAttention, "in_proj_weight"),
)


@dataclass(frozen=True)
class Place:
    """Where a weight is: its path in the network, the module that owns it, its name there."""

    path: str
    module: nn.Module
    attribute: str

    @property
    def weight(self) -> nn.Parameter:
        """The weight itself; dim 0 is the output, dim 1 the input."""
        return self.module.get_parameter(self.attribute)

    @property
    def mask(self) -> Tensor:
        """Its mask, of the weight's shape."""
        return self.module.get_buffer(mask_name(self.attribute))

    @property
    def has_mask(self) -> bool:
        """Whether it has one."""
        return mask_name(self.attribute) in dict(self.module.named_buffers(recurse=False))


def mask_name(attribute: str) -> str:
    """Return the name of a weight's mask."""
    return f"{attribute}_mask"


def prunable(model: nn.Module) -> list[Place]:
    """Return the weights of convolutions, linear layers and attention, shared ones once."""
    found: dict[int, Place] = {}
    for path, module in model.named_modules():
        for kind, attribute in PRUNABLE:
            weight = module._parameters.get(attribute)
            if isinstance(module, kind) and weight is not None:
                place = Place(f"{path}.{attribute}".lstrip("."), module, attribute)
                found.setdefault(id(weight), place)
    return list(found.values())


def masked(model: nn.Module) -> list[Place]:
    """Return the weights that have a mask."""
    return [place for place in prunable(model) if place.has_mask]


def add_masks(
    model: nn.Module, layers: Sequence[str] = (), untouchable: Sequence[str] = ()
) -> list[str]:
    """Give each weight of `layers` (all, if none is named) a mask of ones; return their paths.

    `untouchable` layers get none. A name covers what is under it: `layer4` has `layer4.0.conv1`.
    A mask that is there already stays.

    Raises:
        ConfigError: if a name is no layer with weights, or nothing is left to prune.
    """
    places = prunable(model)
    wanted = _under(model, places, layers, "layers") if layers else {p.path for p in places}
    wanted -= _under(model, places, untouchable, "untouchable")
    chosen = [place for place in places if place.path in wanted]
    if not chosen:
        raise ConfigError(
            f"untouchable={list(untouchable)}: no weight is left to prune. Fix: name fewer layers"
        )
    for place in chosen:
        if not place.has_mask:
            ones = torch.ones_like(place.weight, dtype=torch.bool)
            place.module.register_buffer(mask_name(place.attribute), ones)
    return [place.path for place in chosen]


def _under(
    model: nn.Module, places: Sequence[Place], names: Sequence[str], option: str
) -> set[str]:
    """Return the paths of the weights under any of the layers named."""
    found: set[str] = set()
    known = {path for path, _ in model.named_modules() if path}
    for name in names:
        here = {place.path for place in places if place.path.startswith(f"{name}.")}
        if not here:
            why = "holds no weights to prune" if name in known else "no such layer"
            owners = [path for path in known if any(p.path.startswith(f"{path}.") for p in places)]
            raise ConfigError(f"{option}={name}: {why}. Fix: nearest are {nearest(name, owners)}")
        found |= here
    return found


@torch.no_grad()
def set_masks(model: nn.Module, masks: Mapping[str, Tensor]) -> int:
    """Put masks by their weights' paths in place and apply them; return how many weights fell."""
    places, fallen = {place.path: place for place in masked(model)}, 0
    for path, mask in masks.items():
        old = places[path].mask
        new = mask.to(old.device)
        fallen += int((old & ~new).sum())
        old.copy_(new)
    apply_masks(model)
    return fallen


@torch.no_grad()
def apply_masks(model: nn.Module) -> None:
    """Set the pruned weights to zero: after each optimizer step, whose momentum revives them."""
    for place in masked(model):
        # Not a product with the mask: that has zeros of both signs, and keeps NaN.
        place.weight.masked_fill_(~place.mask, 0)


@torch.no_grad()
def mask_gradients(model: nn.Module) -> None:
    """Set the gradients of pruned weights to zero: before clipping and the optimizer step."""
    for place in masked(model):
        if place.weight.grad is not None:
            place.weight.grad.masked_fill_(~place.mask, 0)


def remove_masks(model: nn.Module) -> nn.Module:
    """Make the zeros part of the weights, drop the masks, and return the network."""
    apply_masks(model)
    for place in masked(model):
        delattr(place.module, mask_name(place.attribute))
    return model
