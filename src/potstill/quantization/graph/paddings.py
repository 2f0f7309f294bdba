"""Paddings other than zeros as steps of their own before convolutions in int8.

Runtimes pad a convolution in int8 with zeros only; what repeats pixels moves values, on their grid.
"""

import torch.nn.functional as F
from torch import fx

from potstill.libraries.torch import padding_around
from potstill.quantization.layers import QuantConv1d, QuantConv2d


def pad_apart(traced: fx.GraphModule) -> None:
    """Pad before every call of a convolution that does not pad with zeros, in place."""
    padded: set[QuantConv1d | QuantConv2d] = set()
    for node in list(traced.graph.nodes):
        layer = traced.get_submodule(str(node.target)) if node.op == "call_module" else None
        if isinstance(layer, QuantConv1d | QuantConv2d) and layer.padding_mode != "zeros":
            source = node.all_input_nodes[0]
            with traced.graph.inserting_before(node):
                pad = traced.graph.call_function(
                    F.pad, (source, padding_around(layer), layer.padding_mode)
                )
            node.replace_input_with(source, pad)
            padded.add(layer)
    for layer in padded:
        layer.padding, layer.padding_mode = (0,) * len(layer.stride), "zeros"
