"""Sensitivity of an int8 network's logits to a change of its rounding."""

import torch
from torch import Tensor, fx, nn

from potstill.models.copies import copy_network
from potstill.quantization.converted_layers import ConvertedLinear
from potstill.quantization.dynamic import DynamicLinear
from potstill.quantization.round_biases import quantized_layers


@torch.no_grad()
def perturb_rounding(network: nn.Module) -> nn.Module:
    """Return a copy of an int8 network that rounds a little differently.

    Runtimes add products of integers and round once; the network adds floats, and may round to
    the other side. That alone changes some values by one, and each changes others after it.
    How many depends on the network: one with logits far apart does not notice, an untrained
    MobileNetV2 keeps no more than 13 dB. A sound file strays no more than this copy does.
    """
    network = copy_network(network)
    return _biases_moved(network) if isinstance(network, fx.GraphModule) else _unrounded(network)


def _biases_moved(converted: fx.GraphModule) -> nn.Module:
    """Move biases of a converted network by half a step of its sums."""
    for layer, quantizer in quantized_layers(converted):
        if layer.bias is not None:
            step = quantizer.scale * layer.scale
            layer.bias += 0.5 * step * _signs(step)
    return converted


def _unrounded(network: nn.Module) -> nn.Module:
    """Round no activations of a dynamically quantized network: each runtime has its own grids."""
    for module in network.modules():
        if isinstance(module, DynamicLinear):
            module.__class__ = ConvertedLinear  # type: ignore[assignment]
    return network


def _signs(like: Tensor) -> Tensor:
    """Return +1, -1, +1 ... (C,): up and down by turns, so that layers do not drift."""
    return 1 - 2.0 * (torch.arange(len(like)) % 2)
