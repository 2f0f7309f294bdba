"""Copies of networks, also of those that `copy.deepcopy` refuses."""

import copy
from collections.abc import Iterator, Mapping
from typing import Any

from torch import Tensor, nn


def copy_network(network: nn.Module) -> nn.Module:
    """Return a deep copy; an attribute that is no leaf of the autograd graph is copied detached."""
    return copy.deepcopy(network, _detached(network))


def copy_shapes(network: nn.Module) -> nn.Module:
    """Return a deep copy without values, on the meta device; shared parameters stay shared."""
    memo = _detached(network)
    for value in (*network.parameters(), *network.buffers()):
        empty = value.detach().to("meta")
        is_parameter = isinstance(value, nn.Parameter)
        memo[id(value)] = nn.Parameter(empty, value.requires_grad) if is_parameter else empty
    return copy.deepcopy(network, memo)


def _detached(network: nn.Module) -> dict[int, Any]:
    """Return a memo for deepcopy with the tensors that are no leaf of the autograd graph."""
    return {
        id(tensor): tensor.detach().clone()
        for module in network.modules()
        for tensor in _tensors(vars(module))
        if not tensor.is_leaf
    }


def _tensors(value: Any) -> Iterator[Tensor]:
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, Mapping):
        for part in value.values():
            yield from _tensors(part)
    elif isinstance(value, (list, tuple)):
        for part in value:
            yield from _tensors(part)
