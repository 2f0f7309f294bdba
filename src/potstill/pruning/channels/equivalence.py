"""Proof of a pruning plan on the network itself: removed channels have no reader."""

import copy
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from potstill.errors import ConfigError
from potstill.libraries.torch import ConvNd
from potstill.pruning.channels.groups import ChannelGroup, find_groups
from potstill.pruning.channels.plan import ChannelPlan, apply_plan
from potstill.pruning.channels.selection import make_plan, score

TOLERANCE = 1e-3  # of the largest logit: summation order differs, a wrong channel is far off
MIXING_NORMS = (nn.LayerNorm, nn.GroupNorm)


def masked(net: nn.Module, plan: ChannelPlan) -> nn.Module:
    """Return a copy of the dense `net` in which no layer reads the channels that `plan` removes.

    In eval mode its outputs are those of the pruned network, whatever the activations make of
    zero; but for layer and group norm, whose statistics see the removed channels.
    """
    net = copy.deepcopy(net)
    with torch.no_grad():
        for path, side, kept in plan.cuts():
            if side == "in":
                gone = sorted(set(range(kept.of)) - set(kept.channels))
                _zero_input_channels(net.get_submodule(path), gone)
    return net


def sound_groups(net: nn.Module, image_shape: Sequence[int]) -> list[ChannelGroup]:
    """Return the groups of `net` whose removal really leaves the network's function alone.

    torch-pruning misreads some networks (a GhostNet's slices); their layers stay whole.

    Raises:
        ConfigError: if the channels cannot be followed, or no group is sound.
    """
    groups = find_groups(net, image_shape)
    if not (fault := find_fault(net, _halves(groups), image_shape)):
        return groups
    sound: list[ChannelGroup] = []
    for group in groups:
        if not find_fault(net, _halves([*sound, group]), image_shape):
            sound.append(group)
    if not sound:
        raise _refusal(net, fault)
    return sound


def check_equivalent(net: nn.Module, plan: ChannelPlan, image_shape: Sequence[int]) -> None:
    """Raise ConfigError unless the pruned `net` computes what the masked one does."""
    if fault := find_fault(net, plan, image_shape):
        raise _refusal(net, fault)


def find_fault(net: nn.Module, plan: ChannelPlan, image_shape: Sequence[int]) -> str | None:
    """Return what is wrong with the pruned `net`, run on two random images."""
    image = torch.randn(2, *image_shape, generator=torch.Generator().manual_seed(0))
    pruned = apply_plan(copy.deepcopy(net), plan)
    try:
        with torch.no_grad():
            found, wanted = pruned(image), masked(net, plan)(image)
    except (RuntimeError, ValueError, AssertionError) as error:
        return f"the pruned network does not run: {error}"
    if not wanted.isfinite().all():
        raise ConfigError(
            f"model={type(net).__name__}: its outputs are not finite. Fix: weights without NaN"
        )
    normed = any(isinstance(module, MIXING_NORMS) for module in _cut_modules(net, plan))
    if found.shape != wanted.shape or not (normed or _close(found, wanted)):
        return "the pruned network computes something else"
    return None


def _halves(groups: Sequence[ChannelGroup]) -> ChannelPlan:
    """Return the plan that keeps a random half: channels mixed up show in the outputs."""
    generator = torch.Generator().manual_seed(0)
    scored = [score(g, torch.rand(g.width, generator=generator), g.width, 0, 1) for g in groups]
    return make_plan(scored, {g.name: g.width // g.blocks // 2 * g.blocks for g in groups})


def _cut_modules(net: nn.Module, plan: ChannelPlan) -> list[nn.Module]:
    return [module for path, module in net.named_modules() if path in plan.layers]


def _zero_input_channels(layer: nn.Module, channels: list[int]) -> None:
    weight = layer.weight
    assert isinstance(weight, Tensor)
    groups = layer.groups if isinstance(layer, ConvNd) else 1
    assert isinstance(groups, int)
    rows = [c for c in channels if c < weight.shape[1]] if groups > 1 else channels
    weight[:, rows] = 0


def _close(found: Tensor, wanted: Tensor) -> bool:
    largest = wanted.abs().max().item()
    return torch.allclose(found, wanted, rtol=0, atol=TOLERANCE * largest)


def _refusal(net: nn.Module, reason: str) -> ConfigError:
    return ConfigError(
        f"model={type(net).__name__}: {reason}, so its channels are not what they seem to be. "
        "Fix: name the layers at fault as untouchable, or take another network"
    )
