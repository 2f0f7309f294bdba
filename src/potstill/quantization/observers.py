"""Switches of a prepared network's observers and rounding, stored in buffers."""

from torch import Tensor, nn

from potstill.quantization.fake_quantize import ActivationQuantizer


def activation_quantizers(model: nn.Module) -> list[ActivationQuantizer]:
    """Return the quantizers of a prepared network, in order of its graph."""
    return [module for module in model.modules() if isinstance(module, ActivationQuantizer)]


def set_observing(model: nn.Module, on: bool) -> None:
    """Enable or disable observers: whether training moves the ranges."""
    for quantizer in activation_quantizers(model):
        quantizer.observing.fill_(on)


def set_faking(model: nn.Module, on: bool) -> None:
    """Enable or disable fake quantization; without it the float network is computed."""
    for module in model.modules():
        if isinstance(getattr(module, "faking", None), Tensor):
            module.get_buffer("faking").fill_(on)
