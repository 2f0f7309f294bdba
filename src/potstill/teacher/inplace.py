"""In-place ReLU and add in an inference-only FX graph."""

import operator
from typing import Any

import torch
import torch.nn.functional as F
from torch import fx, nn

FRESH = (nn.Conv2d, nn.Linear, nn.BatchNorm2d)  # their output is a tensor of its own
ADDS = (operator.add, torch.add)
RELUS = (F.relu, torch.relu)


def make_inplace(network: nn.Module) -> nn.Module:
    """Change a traced network's ReLUs and sums to in-place ones where that is safe; return it.

    Allocating a new tensor for each costs as much as the arithmetic.

    Raises:
        TypeError: if the network is not traced.
    """
    if not isinstance(network, fx.GraphModule):
        raise TypeError("not traced")
    modules = dict(network.named_modules())
    fresh = {node for node in network.graph.nodes if _is_fresh(node, modules)}
    for node in network.graph.nodes:
        if node.op == "call_function" and node.target in ADDS and len(node.args) == 2:
            _sum_in_place(node, fresh)
        elif _is_relu(node, modules) and _is_free(node.args[0], fresh):
            node.op, node.target = "call_function", F.relu
            node.args, node.kwargs = node.args[:1], {"inplace": True}
    network.recompile()
    return network


def _is_fresh(node: fx.Node, modules: dict[str, nn.Module]) -> bool:
    is_sum = node.op == "call_function" and node.target in ADDS
    return is_sum or (node.op == "call_module" and isinstance(modules[str(node.target)], FRESH))


def _is_free(value: Any, fresh: set[fx.Node]) -> bool:
    """Return whether a value has one reader and no other owner."""
    return value in fresh and len(value.users) == 1


def _is_relu(node: fx.Node, modules: dict[str, nn.Module]) -> bool:
    if node.op == "call_module":
        return type(modules[str(node.target)]) is nn.ReLU
    return node.op == "call_function" and node.target in RELUS


def _sum_in_place(node: fx.Node, fresh: set[fx.Node]) -> None:
    first, second = node.args
    if not _is_free(first, fresh):
        first, second = second, first
    if _is_free(first, fresh):
        node.target, node.args, node.kwargs = operator.iadd, (first, second), {}
