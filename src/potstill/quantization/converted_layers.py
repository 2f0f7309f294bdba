"""Layers of a converted network: int8 weights, ranges that are constants of the graph."""

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from potstill.errors import ConfigError
from potstill.libraries.torch import ConvNd
from potstill.quantization.fake_quantize import weight_scale
from potstill.quantization.graph.operators import decomposed
from potstill.quantization.scheme import (
    ACTIVATION_MAX,
    ACTIVATION_MIN,
    SMALLEST_WEIGHT_SCALE,
    WEIGHT_MAX,
)

# How far the codes of a type lie above those of int8.
ACTIVATIONS = {"int8": (torch.int8, 0), "uint8": (torch.uint8, -ACTIVATION_MIN)}


class ConvertedQuantizer(nn.Module):
    """Quantize and dequantize operators, which a runtime fuses with the steps before and after.

    Buffers `scale` () float32 and `zero_point` () int32, that of int8 whatever `activations` is,
    so that one file fits both.
    """

    scale: Tensor
    zero_point: Tensor

    def __init__(self, scale: Tensor, zero_point: Tensor, activations: str) -> None:
        super().__init__()
        self.activations = activations
        self.register_buffer("scale", scale.clone())
        self.register_buffer("zero_point", zero_point.clone())
        self._read()

    def quantize(self, x: Tensor, member: int = 0) -> Tensor:
        """Return `x` on the grid; `member` is that of the fake quantizer, whose grid it shares."""
        return self.keep(x)

    def keep(self, x: Tensor) -> Tensor:
        """Return `x` on the grid.

        Raises:
            ConfigError: if the range is not known.
        """
        if math.isnan(self._scale):
            raise ConfigError(
                "quantization: the ranges of activations are not known. "
                "Fix: train or calibrate the network before it is converted, or load its weights"
            )
        dtype, shift = ACTIVATIONS[self.activations]
        ends = (ACTIVATION_MIN + shift, ACTIVATION_MAX + shift)
        grid = (self._scale, self._zero_point + shift, *ends, dtype)
        codes = decomposed.quantize_per_tensor.default(x, *grid)
        return decomposed.dequantize_per_tensor.default(codes, *grid)

    def _read(self) -> None:
        # An exported graph holds numbers here; a tensor would be computed with at every call.
        self._scale, self._zero_point = float(self.scale), int(self.zero_point)

    def _load_from_state_dict(self, *args: Any, **kwargs: Any) -> None:
        super()._load_from_state_dict(*args, **kwargs)
        self._read()


class _Int8Weight(nn.Module):
    """Buffers `weight` (O, ...) int8, `scale` (O,) float32, `bias` (O,) float32 or none."""

    weight: Tensor
    scale: Tensor
    bias: Tensor | None
    zero_point: Tensor

    def __init__(self, weight: Tensor, scale: Tensor, bias: Tensor | None) -> None:
        super().__init__()
        self.register_buffer("weight", weight)
        self.register_buffer("scale", scale)
        self.register_buffer("bias", bias)
        zero_point = torch.zeros_like(scale, dtype=torch.int64)
        self.register_buffer("zero_point", zero_point, persistent=False)

    def dequantized(self) -> Tensor:
        """Return the int8 weight times its scale, (O, ...) float32."""
        return decomposed.dequantize_per_channel.default(
            self.weight, self.scale, self.zero_point, 0, -WEIGHT_MAX, WEIGHT_MAX, torch.int8
        )


class ConvertedLinear(_Int8Weight):
    """A linear layer with int8 weights, dequantized in the graph for the runtime to fuse."""

    def forward(self, x: Tensor) -> Tensor:
        """Return the linear map (..., C_out) of (..., C_in)."""
        return F.linear(x, self.dequantized(), self.bias)


class ConvertedConv2d(_Int8Weight):
    """A convolution with int8 weights and the strides and groups of `conv`; pads with zeros."""

    def __init__(self, weight: Tensor, scale: Tensor, bias: Tensor | None, conv: ConvNd) -> None:
        super().__init__(weight, scale, bias)
        self.stride, self.padding = conv.stride, conv.padding
        self.dilation, self.groups = conv.dilation, conv.groups

    def forward(self, x: Tensor) -> Tensor:
        """Return the convolution (N, C_out, H', W') of (N, C_in, H, W)."""
        weight, padding = self.dequantized(), self.padding
        return F.conv2d(x, weight, self.bias, self.stride, padding, self.dilation, self.groups)


class ConvertedConv1d(ConvertedConv2d):
    """A 1-d convolution with int8 weights."""

    def forward(self, x: Tensor) -> Tensor:
        """Return the convolution (N, C_out, L') of (N, C_in, L)."""
        weight, padding = self.dequantized(), self.padding
        return F.conv1d(x, weight, self.bias, self.stride, padding, self.dilation, self.groups)


def quantize_weight(weight: Tensor, factor: Tensor) -> tuple[Tensor, Tensor]:
    """Return the int8 weight (O, ...) and scale (O,) of `weight` times `factor` (O,).

    The integers are those of `weight` alone, with the sign of the factor: those that the network
    trained with. Only a channel too faint for the smallest scale is rounded again.
    """
    scale, across = weight_scale(weight), [-1] + [1] * (weight.dim() - 1)
    codes = torch.round(weight / scale.view(across)) * factor.sign().view(across)
    wanted = scale * factor.abs()
    scale = wanted.clamp(min=SMALLEST_WEIGHT_SCALE)
    codes = torch.round(codes * (wanted / scale).view(across))
    return codes.clamp(-WEIGHT_MAX, WEIGHT_MAX).to(torch.int8), scale
