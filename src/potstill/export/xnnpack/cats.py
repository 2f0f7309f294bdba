"""Concatenations of one tensor, or of more than XNNPACK takes at once."""

from typing import Any

import torch
from torch import fx

from potstill.export.xnnpack.steps import kept_on
from potstill.quantization.graph.operators import DEQUANTIZE

ATEN = torch.ops.aten
MOST = 4  # tensors at once


def split_cats(graph_module: fx.GraphModule) -> None:
    """Concatenate no single tensor, and many a few at a time, in place."""
    graph = graph_module.graph
    for node in list(graph.nodes):
        if node.target is not ATEN.cat.default:
            continue
        tensors, *rest = node.args
        with graph.inserting_before(node):
            while len(tensors) > MOST:
                first = graph.call_function(ATEN.cat.default, (tensors[:MOST], *rest))
                tensors = [kept_on(graph, first, _grid(tensors)), *tensors[MOST:]]
        node.args = (tensors, *rest)
        if len(tensors) == 1:
            node.replace_all_uses_with(tensors[0])


def _grid(tensors: list[Any]) -> tuple[Any, ...] | None:
    """Return the grid that all tensors are on, None where there is none."""
    grids = {one.args[1:] if one.target is DEQUANTIZE else None for one in tensors}
    return grids.pop() if len(grids) == 1 else None
