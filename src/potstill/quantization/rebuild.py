"""Rebuilding of a quantized network's modules, to be filled with an artifact's weights."""

from collections.abc import Sequence

from torch import nn

from potstill.quantization.convert import convert
from potstill.quantization.dynamic import quantize_dynamic
from potstill.quantization.prepare import prepare
from potstill.quantization.scheme import INT8, Scheme


def static_shape(
    network: nn.Module,
    bits: int = INT8.bits,
    momentum: float = INT8.momentum,
    keep_float: Sequence[str] = (),
) -> nn.Module:
    """Return the int8 form of an untrained `network`, in eval mode; its numbers mean nothing.

    Args:
        network: as built, with the channels it has left.
        bits: of the `Scheme`, and so is `momentum`.
        momentum: which no shape depends on.
        keep_float: layers that stayed in float32.
    """
    return convert(prepare(network.eval(), Scheme(bits, momentum), keep_float, trains=False))


def dynamic_shape(network: nn.Module) -> nn.Module:
    """Return the dynamic int8 form of an untrained `network`, in eval mode."""
    return quantize_dynamic(network)[0]
