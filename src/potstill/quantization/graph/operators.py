"""The quantize and dequantize operators that exporters recognise."""

from potstill.libraries.torch import decomposed_operators

decomposed = decomposed_operators()
DEQUANTIZE = decomposed.dequantize_per_tensor.default
