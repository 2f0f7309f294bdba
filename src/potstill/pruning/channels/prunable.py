"""Networks that cannot be pruned as they are: compiled, scripted or quantized ones."""

from torch import nn

from potstill.models.plain import check_plain
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


def check_prunable(model: nn.Module) -> None:
    """Raise ConfigError if no module of `model` may be replaced, or its scales would not fit."""
    check_plain(model, "model", "prune", lambda module: isinstance(module, QUANTIZED))
