"""Pools whose padding and rounding XNNPACK does not know, written with those that it does."""

from typing import Any

import torch
from torch import fx

from potstill.libraries.torch import named_arguments

ATEN = torch.ops.aten


def spell_pools(graph_module: fx.GraphModule) -> None:
    """Round pools of `ceil_mode` down where that is the same, and pad before averages, in place.

    Averages count the zeros around a map as XNNPACK's own do not.
    """
    for node in list(graph_module.graph.nodes):
        if node.target in (ATEN.max_pool2d.default, ATEN.avg_pool2d.default):
            given = named_arguments(node.target, node.args, node.kwargs)
            if given["ceil_mode"] and _fits(node, given):
                given["ceil_mode"] = False
            counts = given.get("count_include_pad", False) and not given["ceil_mode"]
            if counts and any(_pair(given["padding"])):
                _pad_first(graph_module.graph, node, given)
            node.args, node.kwargs = tuple(given.values()), {}


def _pair(value: Any) -> tuple[int, int]:
    values = [value] if isinstance(value, int) else list(value)
    return values[0], values[-1]


def _fits(node: Any, given: dict[str, Any]) -> bool:
    """Return whether the last step of a pool ends at the edge, so that nothing is to be rounded."""
    sizes = node.args[0].meta["val"].shape[-2:]
    kernel, padding = _pair(given["kernel_size"]), _pair(given["padding"])
    stride, dilation = _pair(given["stride"] or kernel), _pair(given.get("dilation", 1))
    return all(
        (int(sizes[k]) + 2 * padding[k] - dilation[k] * (kernel[k] - 1) - 1) % stride[k] == 0
        for k in (0, 1)
    )


def _pad_first(graph: fx.Graph, node: Any, given: dict[str, Any]) -> None:
    high, wide = _pair(given["padding"])
    with graph.inserting_before(node):
        pad = (given["self"], [wide, wide, high, high], "constant", 0.0)
        given["self"] = graph.call_function(ATEN.pad.default, pad)
    given["padding"] = [0, 0]
