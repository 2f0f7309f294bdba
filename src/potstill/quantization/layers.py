"""Layers for quantization-aware training; each keeps the names of its parameters."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from potstill.libraries.torch import convolve
from potstill.quantization.fake_quantize import fake_weight
from potstill.quantization.flags import is_on


class QuantConv2d(nn.Conv2d):
    """A convolution that computes with rounded weights.

    Batch-norm multiplies each output channel by a factor, and so does the scale of a channel's
    weights: rounding before or after folding gives the same integers. Nothing is folded here, and
    batch-norm stays a layer of its own that trains as ever.
    """

    faking: Tensor

    def forward(self, input: Tensor) -> Tensor:
        """Return the convolution (N, C_out, H', W') of (N, C_in, H, W) with rounded weights."""
        return convolve(self, input, rounded(self))


class QuantConv1d(nn.Conv1d):
    """A 1-d convolution that computes with rounded weights."""

    faking: Tensor

    def forward(self, input: Tensor) -> Tensor:
        """Return the convolution (N, C_out, L') of (N, C_in, L) with rounded weights."""
        return convolve(self, input, rounded(self))


class QuantLinear(nn.Linear):
    """A linear layer that computes with rounded weights."""

    faking: Tensor

    def forward(self, input: Tensor) -> Tensor:
        """Return the linear map (..., C_out) of (..., C_in) with rounded weights."""
        return F.linear(input, rounded(self), self.bias)


INT8_FORMS: dict[type[nn.Module], type[nn.Module]] = {
    nn.Conv1d: QuantConv1d,
    nn.Conv2d: QuantConv2d,
    nn.Linear: QuantLinear,
}


def rounded(layer: QuantConv1d | QuantConv2d | QuantLinear) -> Tensor:
    """Return the weight that the layer computes with."""
    return fake_weight(layer.weight) if is_on(layer, "faking") else layer.weight


class FreezableBatchNorm2d(nn.BatchNorm2d):
    """Batch-norm whose statistics stand still once `frozen`, also in training mode."""

    frozen: Tensor

    def forward(self, input: Tensor) -> Tensor:
        """Return (N, C, H, W), normalised."""
        if not (self.training and is_on(self, "frozen")):
            return super().forward(input)
        mean, var = self.running_mean, self.running_var
        return F.batch_norm(input, mean, var, self.weight, self.bias, False, 0.0, self.eps)


class FloatBatchNorm2d(FreezableBatchNorm2d):
    """Batch-norm of a layer that stays in float32; its statistics freeze with the others."""


class NormAct(nn.Module):
    """timm's batch-norm with its dropout and activation inside, as three layers.

    Its parameters move from `bn1.weight` to `bn1.norm.weight`.
    """

    def __init__(self, norm: nn.BatchNorm2d, drop: nn.Module, act: nn.Module) -> None:
        super().__init__()
        self.norm, self.drop, self.act = norm, drop, act

    def forward(self, x: Tensor) -> Tensor:
        """Return (N, C, H, W), normalised and activated."""
        return self.act(self.drop(self.norm(x)))


class ContainerHook(nn.Module):
    """Container of a traced network: holds its layers, and fires the hooks at its path.

    A traced network calls no containers, so that hooks on `layer3` would never fire. Nothing
    computes with what this returns: a hook can read here, and not change anything.
    """

    def forward(self, source: Tensor | None, output: Tensor) -> Tensor:
        """Return the container's output as it is."""
        return output


def swap_class(module: nn.Module, kind: type[nn.Module], **flags: bool) -> None:
    """Change the class of `module`, so that parameters, masks and hooks stay, and add flags."""
    module.__class__ = kind
    parameter = next(module.parameters(), None)
    device = None if parameter is None else parameter.device
    for name, on in flags.items():
        module.register_buffer(name, torch.tensor(on, device=device))
