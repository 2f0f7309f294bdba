"""Dynamic int8 of linear layers: weights quantized beforehand, activations in the forward."""

import logging

import torch
from torch import Tensor, nn

from potstill.errors import ConfigError
from potstill.models.parametrized import plain_copy
from potstill.models.plain import check_plain
from potstill.quantization.converted_layers import ConvertedLinear, quantize_weight
from potstill.quantization.graph.operators import decomposed
from potstill.quantization.scheme import ACTIVATION_MAX, ACTIVATION_MIN

log = logging.getLogger("potstill")


class DynamicLinear(ConvertedLinear):
    """A linear layer of int8 weights that quantizes each row of its input by its own range.

    The grid is affine int8. XNNPACK has kernels that run this layer whole.
    """

    def forward(self, x: Tensor) -> Tensor:
        """Return (..., C_out) for an input (..., C_in)."""
        scale, zero_point = decomposed.choose_qparams_per_token_asymmetric.default(x, torch.int8)
        grid = (scale, zero_point, ACTIVATION_MIN, ACTIVATION_MAX, torch.int8)
        codes = decomposed.quantize_per_token.default(x, *grid)
        return super().forward(decomposed.dequantize_per_token.default(codes, *grid, x.dtype))


def quantize_dynamic(network: nn.Module) -> tuple[nn.Module, float]:
    """Return a copy in eval mode with int8 linear layers, and their share of all parameters.

    Convolutions stay float: for a ResNet-18 that share is 0.04.

    Raises:
        ConfigError: if there is no linear layer.
    """
    total = sum(parameter.numel() for parameter in network.parameters())
    check_plain(network, "model", "quantize")
    network = plain_copy(network).eval()
    # Not subclasses: attention reads the weight of its output layer itself.
    paths = [path for path, module in network.named_modules() if type(module) is nn.Linear]
    if not paths:
        raise ConfigError(
            "quantization=dynamic: the network has no linear layer. Fix: quantization=static"
        )
    reached = 0
    for path in paths:
        layer = network.get_submodule(path)
        assert isinstance(layer, nn.Linear)
        network.set_submodule(path, _dynamic(layer))
        reached += layer.weight.numel()
    return network, reached / total


def _dynamic(linear: nn.Linear) -> DynamicLinear:
    weight, bias = linear.weight.detach(), linear.bias
    codes, scale = quantize_weight(weight, torch.ones_like(weight[:, 0]))
    return DynamicLinear(codes, scale, None if bias is None else bias.detach().clone())


def is_dynamic(network: nn.Module) -> bool:
    """Return whether any module of `network` is a dynamically quantized layer."""
    return any(isinstance(module, DynamicLinear) for module in network.modules())
