"""Out-of-place rewrites of in-place operations, whose inputs quantizers need."""

import operator
from collections.abc import Callable, Set
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, fx, nn

OPERATORS: dict[Any, Callable[..., Any]] = {
    operator.iadd: operator.add,
    operator.isub: operator.sub,
    operator.imul: operator.mul,
    operator.itruediv: operator.truediv,
    torch.relu_: torch.relu,
}
SECOND_IS_INPLACE = (F.relu, F.relu6, F.silu, F.hardswish, F.hardsigmoid, F.mish)


def functionalize(graph_module: fx.GraphModule) -> None:
    """Make every operation return a new tensor; later readers of the overwritten one read that."""
    order = {node: number for number, node in enumerate(graph_module.graph.nodes)}
    for node in list(graph_module.graph.nodes):
        if not _overwrites(graph_module, node):
            continue
        overwritten = node.all_input_nodes[0]
        for user in list(overwritten.users):
            if order[user] > order[node]:
                user.replace_input_with(overwritten, node)
        _rewrite(node)
    for module in graph_module.modules():
        if getattr(module, "inplace", False):
            module.inplace = False  # type: ignore[assignment]


def drop_unused(network: nn.Module, graph: fx.Graph, hooks: Set[nn.Module]) -> None:
    """Take everything out of `graph` on which the network's output does not depend.

    Args:
        network: what was traced.
        graph: of its forward.
        hooks: modules whose calls nothing reads: they stay where all they are given does.
    """
    needed: set[fx.Node] = set()
    calls = [node for node in graph.nodes if _is_call_of(network, node, hooks)]
    for node in reversed(graph.nodes):
        used = node in needed or node.op in ("placeholder", "output")
        if used or (needed.intersection(node.all_input_nodes[:1]) and _overwrites(network, node)):
            needed |= {node, *node.all_input_nodes}
    needed |= {node for node in calls if needed.issuperset(node.all_input_nodes)}
    for node in reversed(graph.nodes):
        if node not in needed:
            graph.erase_node(node)


def _is_call_of(network: nn.Module, node: fx.Node, modules: Set[nn.Module]) -> bool:
    return node.op == "call_module" and network.get_submodule(str(node.target)) in modules


def _overwrites(network: nn.Module, node: fx.Node) -> bool:
    if node.op == "call_module":
        return bool(getattr(network.get_submodule(str(node.target)), "inplace", False))
    if node.op == "call_method":
        return _without_underscore(str(node.target)) is not None
    if node.target in SECOND_IS_INPLACE and len(node.args) > 1:
        node.args, node.kwargs = node.args[:1], {"inplace": node.args[1]}
    return bool(node.kwargs.get("inplace")) or node.target in OPERATORS


def _rewrite(node: fx.Node) -> None:
    if node.op == "call_method":
        node.target = str(_without_underscore(str(node.target)))
    elif node.op == "call_function":
        node.target = OPERATORS.get(node.target, node.target)
        node.kwargs = {key: value for key, value in node.kwargs.items() if key != "inplace"}


def _without_underscore(method: str) -> str | None:
    """Return the method that `method` is the in-place form of, if it is one."""
    name = method.removesuffix("_")
    in_place = method.endswith("_") and not method.endswith("__") and hasattr(Tensor, name)
    return name if in_place else None
