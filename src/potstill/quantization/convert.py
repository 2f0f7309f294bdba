"""Conversion of a fake-quantized network to int8: weights quantized, batch-norm folded.

Its quantize and dequantize operators are what ExecuTorch, ONNX Runtime and other runtimes turn into
integer kernels.
"""

import copy

import torch
from torch import fx, nn

from potstill.errors import ConfigError
from potstill.quantization.converted_layers import ACTIVATIONS, ConvertedQuantizer
from potstill.quantization.fake_quantize import ActivationQuantizer
from potstill.quantization.fold_batch_norm import calls, replace_layers
from potstill.quantization.graph.operators import DEQUANTIZE
from potstill.quantization.layers import ContainerHook
from potstill.quantization.prepare import is_prepared
from potstill.quantization.round_biases import round_biases


@torch.no_grad()
def convert(model: nn.Module, activations: str = "int8") -> fx.GraphModule:
    """Return the int8 form of a network from `prepare`, a copy in eval mode.

    Its `state_dict` holds int8 weights and float32 scales and biases; loaded into the converted
    form of an untrained network of the same shape, it gives the same network.

    Args:
        model: from `prepare`, trained or calibrated, or to be filled by `load_state_dict`.
        activations: "int8", or "uint8" for ONNX Runtime on x86; the numbers are the same.

    Raises:
        ConfigError: if `model` is not prepared, or there are no such activations.
    """
    _check_activations(activations)
    if not isinstance(model, fx.GraphModule) or not is_prepared(model):
        raise ConfigError("model: is not fake-quantized. Fix: prepare it, then train or calibrate")
    converted = copy.deepcopy(model).eval()
    _drop_container_hooks(converted)
    for path, module in list(converted.named_modules()):
        if isinstance(module, ActivationQuantizer):
            converted.set_submodule(path, _fix(module, activations))
    replace_layers(converted)
    round_biases(converted)
    converted.delete_all_unused_submodules()
    converted.graph.lint()
    converted.recompile()
    return converted


def with_activations(converted: nn.Module, activations: str) -> nn.Module:
    """Return a copy of a converted network that computes the same on "int8" or "uint8" codes."""
    _check_activations(activations)
    copied = copy.deepcopy(converted)
    for module in copied.modules():
        if isinstance(module, ConvertedQuantizer):
            module.activations = activations
    return copied


def is_converted(model: nn.Module) -> bool:
    """Return whether any module of `model` is a converted quantizer."""
    return any(isinstance(module, ConvertedQuantizer) for module in model.modules())


def split_dequantize(exported: fx.GraphModule) -> fx.GraphModule:
    """Give every consumer a dequantize of its own, in place, and return the graph.

    XNNPACK's partitioner takes each integer kernel with its own; one that two branches of a
    residual block share tears the network into many delegates.
    """
    for node in list(exported.graph.nodes):
        if node.target is not DEQUANTIZE:
            continue
        for user in list(node.users)[1:]:
            with exported.graph.inserting_before(user):
                own = exported.graph.call_function(DEQUANTIZE, node.args, node.kwargs)
            own.meta = dict(node.meta)
            user.replace_input_with(node, own)
    exported.recompile()
    return exported


def _check_activations(activations: str) -> None:
    if activations not in ACTIVATIONS:
        raise ConfigError(f"activations={activations}: no such type. Fix: {'|'.join(ACTIVATIONS)}")


def _drop_container_hooks(converted: fx.GraphModule) -> None:
    for node in calls(converted, ContainerHook):
        converted.graph.erase_node(node)


def _fix(quantizer: ActivationQuantizer, activations: str) -> ConvertedQuantizer:
    scale, zero_point = quantizer.grid()
    scale = torch.where(quantizer.seen.all(), scale, torch.nan)
    return ConvertedQuantizer(scale, zero_point, activations)
