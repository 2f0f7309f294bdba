"""Python integers in arithmetic on floats, written as floats.

ExecuTorch makes a tensor of every integer, whose conversion to float XNNPACK leaves out.
"""

from typing import Any

import torch
from torch import fx

from potstill.libraries.torch import aten_name, parameter_names

ATEN = torch.ops.aten
NAMES = (
    "add", "sub", "rsub", "mul", "div", "floor_divide", "remainder", "maximum", "minimum",
    "clamp", "clamp_min", "clamp_max", "hardtanh",
)  # fmt: skip
PARAMETERS = ("self", "other", "min", "max", "min_val", "max_val")


def write_floats(graph_module: fx.GraphModule) -> None:
    """Write integers as floats where the result is one, in place; `s - x` as `-x + s`."""
    for node in list(graph_module.graph.nodes):
        name = aten_name(node.target)
        if name not in NAMES or not node.meta["val"].is_floating_point():
            continue
        given = parameter_names(node.target)
        node.args = tuple(_float(*pair) for pair in zip(given, node.args, strict=False))
        node.kwargs = {key: _float(key, value) for key, value in node.kwargs.items()}
        if name == "rsub" and len(node.args) == 2 and isinstance(node.args[1], float):
            _turn(graph_module.graph, node)
        elif name == "floor_divide":
            _floor(graph_module.graph, node)


def _float(name: str, value: Any) -> Any:
    return float(value) if type(value) is int and name in PARAMETERS else value


def _turn(graph: fx.Graph, node: Any) -> None:
    source, scalar = node.args
    with graph.inserting_before(node):
        minus = graph.call_function(ATEN.mul.Tensor, (source, -1.0))
    node.target, node.args = ATEN.add.Tensor, (minus, scalar)


def _floor(graph: fx.Graph, node: Any) -> None:
    with graph.inserting_before(node):
        quotient = graph.call_function(ATEN.div.Tensor, node.args)
    node.target, node.args = ATEN.floor.default, (quotient,)
