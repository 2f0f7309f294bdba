"""Networks that cannot be pruned as they are: compiled, scripted or quantized ones."""

import torch
from torch import nn

from potstill.errors import ConfigError
from potstill.libraries.torch import is_compiled
from potstill.quantization.converted_layers import (
    ConvertedConv2d,
    ConvertedLinear,
    ConvertedQuantizer,
)
from potstill.quantization.fake_quantize import ActivationQuantizer
from potstill.quantization.layers import QuantConv2d, QuantLinear

QUANTIZED = (
    *(ActivationQuantizer, QuantConv2d, QuantLinear),
    *(ConvertedQuantizer, ConvertedConv2d, ConvertedLinear),
)
QUANTIZERS = ("torch.ao.", "torchao.")  # packages of other people's quantized layers


def check_prunable(model: nn.Module) -> None:
    """Raise ConfigError if no module of `model` may be replaced, or its scales would not fit."""
    for path, module in model.named_modules():
        if reason := _obstacle(module):
            where = f"{path} is " if path else ""
            raise ConfigError(f"model={type(model).__name__}: {where}{reason}")


def _obstacle(module: nn.Module) -> str | None:
    if isinstance(module, torch.jit.ScriptModule):
        return "a TorchScript module, which has no layers to cut. Fix: prune what it was made from"
    if is_compiled(module):
        return "compiled for the channels it has. Fix: prune first, then torch.compile"
    if isinstance(module, QUANTIZED) or type(module).__module__.startswith(QUANTIZERS):
        return "quantized, with scales for the channels it has. Fix: prune first, then quantize"
    return None
