"""Paddings that repeat pixels, written as matrix products."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, fx

from potstill.export.xnnpack.steps import QUANTIZE, kept_on, zeros_and_ones
from potstill.quantization.graph.operators import DEQUANTIZE

ATEN = torch.ops.aten
REPEATING = ("reflect", "replicate", "circular")


def multiply_paddings(graph_module: fx.GraphModule) -> None:
    """Multiply rows and columns by zeros and ones in place of padding that repeats pixels.

    XNNPACK pads with a constant only, and slices no batch of any size. A linear layer whose weights
    are one and zero returns the same values, in float and in int8.
    """
    graph, number = graph_module.graph, 0
    for node in list(graph.nodes):
        if node.target is not ATEN.pad.default or len(node.args) < 3:
            continue
        source, widths, mode, *_ = node.args
        if mode in REPEATING and min(widths) >= 0:
            with graph.inserting_before(node):
                new = _multiplied(graph_module, source, node, f"padding_{number}")
            node.replace_all_uses_with(new)
            number += 1


def _multiplied(graph_module: fx.GraphModule, source: Any, pad: Any, name: str) -> Any:
    """Return the step that gives what `pad` makes of `source`, one dimension at a time."""
    _, widths, mode, *_ = pad.args
    shape, last = source.meta["val"].shape, len(source.meta["val"].shape) - 1
    in_integers = source.target is DEQUANTIZE and all(n.target is QUANTIZE for n in pad.users)
    grid = source.args[1:] if in_integers else None
    steps: list[Any] = []
    for place, around in enumerate(zip(widths[::2], widths[1::2], strict=True)):
        matrix = _matrix(int(shape[last - place]), around, mode)
        weight = zeros_and_ones(graph_module, f"{name}_{place}", matrix, in_integers)
        turn = [(ATEN.permute.default, _swap(last, place))] if place else []
        steps += [*turn, (ATEN.linear.default, weight), *turn] if any(around) else []
    for number, step in enumerate(steps):
        source = kept_on(graph_module.graph, source, grid) if number else source
        source = graph_module.graph.call_function(step[0], (source, step[1]))
    return source


def _matrix(size: int, around: tuple[int, int], mode: str) -> Tensor:
    """Return (size padded, size): one where a padded place holds a place."""
    places = F.pad(torch.arange(size, dtype=torch.float64).view(1, 1, -1), around, mode)
    return F.one_hot(places.flatten().long(), size).float()


def _swap(last: int, place: int) -> list[int]:
    dims = list(range(last + 1))
    dims[last], dims[last - place] = dims[last - place], dims[last]
    return dims
