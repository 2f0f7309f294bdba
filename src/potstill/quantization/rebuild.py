"""Rebuilding of a quantized network's modules, to be filled with an artifact's weights."""

from collections.abc import Sequence

from torch import nn

from potstill.models.parametrized import with_plain_weights
from potstill.quantization import equalization
from potstill.quantization.bias_correction import add_biases
from potstill.quantization.convert import convert
from potstill.quantization.dynamic import quantize_dynamic
from potstill.quantization.prepare import prepare
from potstill.quantization.scheme import INT8, Scheme


def static_shape(
    network: nn.Module,
    bits: int = INT8.bits,
    momentum: float = INT8.momentum,
    keep_float: Sequence[str] = (),
    equalize: bool = False,
    bias_correction: bool = False,
) -> nn.Module:
    """Return the int8 form of an untrained `network`, in eval mode; its numbers mean nothing.

    Args:
        network: as built, with the channels it has left.
        bits: of the `Scheme`, and so is `momentum`.
        momentum: which no shape depends on.
        keep_float: layers that stayed in float32.
        equalize: whether layers were equalised, which leaves clamps where ReLU6 was.
        bias_correction: whether biases were corrected, so that each layer has one.
    """
    network = with_plain_weights(network)
    network = equalization.equalize(network) if equalize else network.eval()
    prepared = prepare(network, Scheme(bits, momentum), keep_float, trains=False)
    if bias_correction:
        add_biases(prepared)
    return convert(prepared)


def dynamic_shape(network: nn.Module) -> nn.Module:
    """Return the dynamic int8 form of an untrained `network`, in eval mode."""
    return quantize_dynamic(with_plain_weights(network))[0]
