"""Out-of-place rewrites of in-place operations, whose inputs quantizers need."""

import operator
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, fx

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


def _overwrites(graph_module: fx.GraphModule, node: fx.Node) -> bool:
    if node.op == "call_module":
        return bool(getattr(graph_module.get_submodule(str(node.target)), "inplace", False))
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
