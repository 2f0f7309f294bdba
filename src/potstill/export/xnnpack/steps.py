"""Steps that a rewriting adds to a torch.export graph."""

from typing import Any

import torch
from torch import Tensor, fx

from potstill.quantization.graph.operators import DEQUANTIZE, decomposed

QUANTIZE = decomposed.quantize_per_tensor.default
GRID = (0, -127, 127, torch.int8)  # of weights: channels along dimension 0, least, greatest, type


def constant(graph_module: fx.GraphModule, name: str, value: Tensor) -> fx.Node:
    """Return the step that gets `value`, a buffer called `name`."""
    graph_module.register_buffer(name, value)
    return graph_module.graph.get_attr(name)


def zeros_and_ones(
    graph_module: fx.GraphModule, name: str, weight: Tensor, in_integers: bool
) -> fx.Node:
    """Return the step that gives a weight (O, ...) of zeros and ones, as int8 or as float."""
    if not in_integers:
        return constant(graph_module, name, weight)
    codes = constant(graph_module, name, weight.to(torch.int8))
    scale = constant(graph_module, f"{name}_scale", torch.ones(len(weight)))
    zero = torch.zeros(len(weight), dtype=torch.int64)
    return graph_module.graph.call_function(
        decomposed.dequantize_per_channel.default,
        (codes, scale, constant(graph_module, f"{name}_zero", zero), *GRID),
    )


def kept_on(graph: fx.Graph, node: Any, grid: tuple[Any, ...] | None) -> Any:
    """Return the step that rounds to a grid on which values are already; `node` without one."""
    if grid is None:
        return node
    return graph.call_function(DEQUANTIZE, (graph.call_function(QUANTIZE, (node, *grid)), *grid))
