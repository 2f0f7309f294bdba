"""The quantize and dequantize operators that exporters recognise."""

import warnings
from types import ModuleType

import torch

with warnings.catch_warnings():
    # The module is deprecated, and still the only one that registers these operators; torchao and
    # ExecuTorch import it too.
    warnings.simplefilter("ignore")
    import torch.ao.quantization.fx._decomposed

decomposed: ModuleType = torch.ops.quantized_decomposed
DEQUANTIZE = decomposed.dequantize_per_tensor.default
