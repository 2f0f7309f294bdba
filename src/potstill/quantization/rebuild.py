"""Rebuilding of a quantized network's modules, to be filled with an artifact's weights."""

from typing import Any

from torch import nn

from potstill.errors import DataError
from potstill.quantization.convert import convert
from potstill.quantization.dynamic import quantize_dynamic
from potstill.quantization.prepare import prepare
from potstill.quantization.scheme import Scheme


def quantized_shape(network: nn.Module, settings: dict[str, Any]) -> nn.Module:
    """Return the int8 form of an untrained `network`, in eval mode, to be filled with weights.

    Args:
        network: as built, with the channels it has left.
        settings: "kind", static or dynamic; the fields of `Scheme` for static.

    Raises:
        DataError: if this version knows no such quantization.
    """
    fields = dict(settings)
    kind = fields.pop("kind", None)
    if kind == "static":
        return convert(prepare(network.eval(), Scheme.from_dict(fields)))
    if kind == "dynamic":
        return quantize_dynamic(network)[0]
    raise DataError(f"quantization={settings}: unknown to this version. Fix: a newer potstill")
