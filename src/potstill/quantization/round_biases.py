"""Biases of a converted network on the runtimes' grid: int32 times a step.

The step is that of a layer's sums, the input's scale times the weight's (Jacob et al. 2018,
arXiv:1712.05877, section 2.4).
"""

import torch
from torch import Tensor, fx

from potstill.quantization.converted_layers import (
    ConvertedConv2d,
    ConvertedLinear,
    ConvertedQuantizer,
)

LARGEST = 2.0**30  # half of what 32 bits hold; the rest is for the sum of products


@torch.no_grad()
def round_biases(converted: fx.GraphModule) -> None:
    """Round every bias to its step, in place, so that runtimes compute with the same numbers.

    Where weights are so faint that a bias would not fit, their scale is raised until it does:
    runtimes overflow without a word. Ranges that are not known yet leave a bias as it is, and so
    do calls of one layer on different grids.
    """
    inputs: dict[ConvertedConv2d | ConvertedLinear, set[float]] = {}
    for layer, quantizer in quantized_layers(converted):
        inputs.setdefault(layer, set()).add(float(quantizer.scale))
    for layer, scales in inputs.items():
        if layer.bias is None or not all(scale > 0 for scale in scales):  # NaN: not known
            continue
        _make_room(layer, min(scales))
        if len(scales) == 1:
            step = layer.scale.double() * scales.pop()
            layer.bias.copy_(torch.round(layer.bias / step) * step)


def quantized_layers(
    converted: fx.GraphModule,
) -> list[tuple[ConvertedConv2d | ConvertedLinear, ConvertedQuantizer]]:
    """Return every call of a layer, with the quantizer that its input comes from."""
    found = []
    for node in converted.graph.nodes:
        layer = converted.get_submodule(str(node.target)) if node.op == "call_module" else None
        if isinstance(layer, ConvertedConv2d | ConvertedLinear):
            found.append((layer, _quantizer(converted, node.all_input_nodes[0])))
    return found


def _quantizer(converted: fx.GraphModule, source: fx.Node) -> ConvertedQuantizer:
    """Return the quantizer on whose grid a value is; steps between move it and change nothing."""
    while source.op != "call_method" or source.target not in ("quantize", "keep"):
        source = source.all_input_nodes[0]
    quantizer = converted.get_submodule(str(source.all_input_nodes[0].target))
    assert isinstance(quantizer, ConvertedQuantizer)
    return quantizer


def _make_room(layer: ConvertedConv2d | ConvertedLinear, input_scale: float) -> None:
    """Raise the scales (O,) of weights until biases are no more than `LARGEST` steps."""
    assert layer.bias is not None
    least = (layer.bias.abs() / (input_scale * LARGEST)).to(layer.scale)
    across = [-1] + [1] * (layer.weight.dim() - 1)
    scale: Tensor = torch.maximum(layer.scale, least)
    codes = layer.weight * (layer.scale / scale).view(across)
    layer.weight.copy_(torch.round(codes))
    layer.scale.copy_(scale)
