"""Batch-norm folding: int8 layers in place of trained convolutions and their batch-norms."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from potstill.errors import ConfigError
from potstill.quantization.converted_layers import (
    ConvertedConv1d,
    ConvertedConv2d,
    ConvertedLinear,
    quantize_weight,
)
from potstill.quantization.layers import (
    FloatBatchNorm2d,
    FreezableBatchNorm2d,
    QuantConv1d,
    QuantConv2d,
    QuantLinear,
)


def replace_layers(converted: fx.GraphModule) -> None:
    """Put the int8 form of every layer at its path, with the batch-norm after it folded in.

    Layers that stay in float32 are folded as well; a batch-norm left alone there becomes torch's.
    """
    norms: dict[str, str | None] = {}
    for node in calls(converted, QuantConv2d, nn.Conv2d):
        norm = _take_norm_after(converted, node)
        if norms.setdefault(str(node.target), norm) != norm:
            raise ConfigError(
                f"model: {node.target} is called twice, before different batch-norms, and cannot "
                "be folded into both. Fix: give each call a convolution of its own"
            )
    layers: dict[str, nn.Module] = {}
    for path, norm in norms.items():
        after = None if norm is None else converted.get_submodule(norm)
        layers[path] = _folded(converted.get_submodule(path), after)  # type: ignore[arg-type]
    for node in calls(converted, *_ALONE):
        layer = converted.get_submodule(str(node.target))
        layers[str(node.target)] = _ALONE[type(layer)](layer)
    for path, layer in layers.items():
        converted.set_submodule(path, layer)


def calls(converted: fx.GraphModule, *types: type[nn.Module]) -> list[fx.Node]:
    """Return the calls of modules of exactly those types, in order."""
    calls = [node for node in converted.graph.nodes if node.op == "call_module"]
    return [node for node in calls if type(converted.get_submodule(node.target)) in types]


def _take_norm_after(converted: fx.GraphModule, node: fx.Node) -> str | None:
    """Take out the batch-norm that alone computes with a convolution, and return its path."""
    users = list(node.users)
    is_int8 = isinstance(converted.get_submodule(str(node.target)), QuantConv2d)
    kind = FreezableBatchNorm2d if is_int8 else FloatBatchNorm2d
    if len(users) != 1 or users[0] not in calls(converted, kind):
        return None
    users[0].replace_all_uses_with(node)
    converted.graph.erase_node(users[0])
    return str(users[0].target)


def _conv1d(layer: QuantConv1d) -> ConvertedConv1d:
    weight, scale = quantize_weight(layer.weight, torch.ones_like(layer.weight[:, 0, 0]))
    return ConvertedConv1d(weight, scale, None if layer.bias is None else layer.bias.clone(), layer)


def _linear(layer: QuantLinear) -> ConvertedLinear:
    weight, scale = quantize_weight(layer.weight, torch.ones_like(layer.weight[:, 0]))
    return ConvertedLinear(weight, scale, None if layer.bias is None else layer.bias.clone())


def _norm_alone(norm: FreezableBatchNorm2d) -> ConvertedConv2d:
    """Return a batch-norm that follows no convolution, as a 1x1 convolution of each channel."""
    channels = norm.num_features
    conv = nn.Conv2d(channels, channels, 1, groups=channels, bias=False, device="meta")
    conv.weight = nn.Parameter(torch.ones_like(norm.running_mean).view(-1, 1, 1, 1))  # type: ignore[arg-type]
    return _fold(conv, norm)


def _folded(conv: nn.Conv2d, norm: FreezableBatchNorm2d | None) -> nn.Module:
    """Return a convolution with its batch-norm folded in, int8 unless it stays in float32."""
    if isinstance(conv, QuantConv2d):
        return _fold(conv, norm)
    return conv if norm is None else fuse_conv_bn_eval(conv, norm)


def _float_norm(norm: FloatBatchNorm2d) -> nn.BatchNorm2d:
    """Return a batch-norm in float32 that follows no convolution of its own, as torch's."""
    del norm.frozen
    norm.__class__ = nn.BatchNorm2d  # type: ignore[assignment]
    return norm


def _fold(conv: nn.Conv2d, norm: FreezableBatchNorm2d | None) -> ConvertedConv2d:
    """Return the int8 convolution of `conv` with `norm`, in eval mode, folded in."""
    factor, bias = torch.ones_like(conv.weight[:, 0, 0, 0]), conv.bias
    if norm is not None:
        factor, shift = _affine(norm)
        bias = shift if bias is None else shift + factor * bias
    codes, scale = quantize_weight(conv.weight, factor)
    return ConvertedConv2d(codes, scale, None if bias is None else bias.clone(), conv)


def _affine(norm: FreezableBatchNorm2d) -> tuple[Tensor, Tensor]:
    """Return factor and shift (C,): batch-norm in eval mode is factor * x + shift."""
    mean, var = norm.get_buffer("running_mean"), norm.get_buffer("running_var")
    factor = torch.rsqrt(var + norm.eps)
    if norm.affine:
        factor = factor * norm.weight
        return factor, norm.bias - factor * mean
    return factor, -factor * mean


_ALONE: dict[type[nn.Module], Callable[[Any], nn.Module]] = {
    QuantConv1d: _conv1d,
    QuantLinear: _linear,
    FreezableBatchNorm2d: _norm_alone,
    FloatBatchNorm2d: _float_norm,
}
