"""Rebuilding of a quantized network's modules, to be filled with an artifact's weights."""

from typing import Any

from torch import nn

from potstill.quantization.convert import convert
from potstill.quantization.dynamic import quantize_dynamic
from potstill.quantization.prepare import prepare
from potstill.quantization.scheme import Scheme


def static_shape(network: nn.Module, **scheme: Any) -> nn.Module:
    """Return the int8 form of an untrained `network`, in eval mode; its numbers mean nothing.

    Args:
        network: as built, with the channels it has left.
        scheme: the fields of `Scheme`.
    """
    return convert(prepare(network.eval(), Scheme.from_dict(scheme)))


def dynamic_shape(network: nn.Module) -> nn.Module:
    """Return the dynamic int8 form of an untrained `network`, in eval mode."""
    return quantize_dynamic(network)[0]
