"""A pruned network from the dense one's own forward pass: each reader looks at what is left."""

import copy
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd

from potstill.pruning.channels.plan import ChannelPlan, Kept, apply_plan


def dense_without(dense: nn.Module, plan: ChannelPlan) -> nn.Module:
    """Return the dense network in which readers and norms over channels see what `plan` keeps.

    All else runs on as many channels as ever, so that a wrong place shows in the logits: a layer
    that is cut is replaced by one that takes its channels out of the full tensor, computes, and
    puts the result back among zeros.
    """
    net = copy.deepcopy(dense)
    owners: dict[str, dict[str, Kept]] = {}
    for path, side, kept in plan.cuts():
        is_module = path in dict(net.named_modules())
        owner = path if is_module else path.rpartition(".")[0]
        owners.setdefault(owner, {})[side if is_module else "out"] = kept
    cut = apply_plan(copy.deepcopy(dense), plan)
    for path, sides in owners.items():
        module = net.get_submodule(path)
        if _mixes(module):
            alone = isinstance(module, _ConvNd) and module.groups == module.in_channels > 1
            same = alone or not isinstance(module, READERS)  # reads the channels that it makes
            kept_in = sides.get("out") if same else sides.get("in")
            hook = _Replaced(cut.get_submodule(path), kept_in, sides.get("out"))
            module.register_forward_hook(hook)
    return net


READERS = (_ConvNd, nn.Linear)
NORMS = (nn.LayerNorm, nn.GroupNorm, nn.RMSNorm)


def _mixes(module: nn.Module) -> bool:
    named = any(word in type(module).__name__.lower() for word in ("norm", "response"))
    return isinstance(module, (*READERS, *NORMS)) or (
        named and not isinstance(module, nn.modules.batchnorm._NormBase)
    )


class _Replaced:
    """A forward hook that computes on some channels and puts zeros for the others."""

    def __init__(self, module: nn.Module, read: Kept | None, made: Kept | None) -> None:
        self.module, self.read, self.made = module, read, made

    def __call__(self, module: nn.Module, args: Sequence[Any], output: Tensor) -> Tensor:
        image, made = args[0], output
        if self.read is not None:
            dim = _dimension(module, image, self.read.of)
            image = image.index_select(dim, torch.tensor(self.read.channels))
        made = self.module(image, *args[1:])
        if self.made is None:
            return made
        dim = _dimension(module, output, self.made.of)
        full = torch.zeros_like(output)
        return full.index_copy(dim, torch.tensor(self.made.channels), made)


def _dimension(module: nn.Module, value: Tensor, width: int) -> int:
    if isinstance(module, nn.Linear):
        return value.dim() - 1
    return 1 if value.shape[1] == width else value.dim() - 1
