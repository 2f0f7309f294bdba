"""Unsigned weights in an ONNX graph: 0 to 255 in place of -128 to 127."""

from typing import Any

import numpy as np

from potstill.libraries import need

SHIFT = 128


def unsigned_weights(model: Any) -> None:
    """Add 128 to the int8 weights of `model` and to their zero points.

    Values stay what they were: (q + 128) - (z + 128) = q - z. On processors without VNNI, ONNX
    Runtime adds two products of uint8 activations and int8 weights in 16 bits, and 2 * 255 * 127
    does not fit: sums saturate. With uint8 weights they do not.
    """
    graph = model.graph
    tensors = {tensor.name: tensor for tensor in graph.initializer}
    shifted: dict[str, str] = {}
    for node in graph.node:
        if node.op_type == "DequantizeLinear" and node.input[0] in tensors:
            for place in (0, 2):
                tensor = tensors[node.input[place]]
                if tensor.name not in shifted:
                    shifted[tensor.name] = _add_shifted(graph, tensor)
                node.input[place] = shifted[tensor.name]
    used = {name for node in graph.node for name in node.input}
    kept = [tensor for tensor in graph.initializer if tensor.name in used]
    del graph.initializer[:]
    graph.initializer.extend(kept)


def _add_shifted(graph: Any, tensor: Any) -> str:
    arrays = need("onnx", "export=onnx").numpy_helper
    values = arrays.to_array(tensor).astype(np.int16) + SHIFT
    new = arrays.from_array(values.astype(np.uint8), f"{tensor.name}_uint8")
    graph.initializer.append(new)
    return new.name
