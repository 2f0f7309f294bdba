"""Cross-layer equalisation: channels of two layers in a row scaled to the same range of weights.

Nagel et al. 2019, arXiv:1906.04721, section 4.1. torch.ao has an equaliser of pairs that are named
by hand; it is deprecated and takes neither depthwise convolutions nor batch-norms.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, fx, nn

from potstill.errors import ConfigError
from potstill.models.parametrized import plain_copy, shared_parameters
from potstill.quantization.graph.layer_pairs import Layer, LayerPair, layer_pairs
from potstill.quantization.graph.trace import trace_layers

ROUNDS, CONVERGED = 100, 1e-4  # "until convergence"
CLAMPS = "equalized"


class ChannelClamp(nn.Module):
    """ReLU with a ceiling of its own for each channel, as a scaled ReLU6 has.

    Buffer `ceiling` (C, 1, 1).
    """

    ceiling: Tensor

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.register_buffer("ceiling", torch.full((channels, 1, 1), 6.0))

    def forward(self, x: Tensor) -> Tensor:
        """Return (N, C, H, W), no value below 0 nor above its channel's ceiling."""
        return torch.minimum(F.relu(x), self.ceiling)


@torch.no_grad()
def equalize(network: nn.Module) -> fx.GraphModule:
    """Return a copy in eval mode with the same outputs, whose pairs of layers have equal ranges.

    A pair is two layers between which no channel meets another: batch-norm, ReLU, pooling. Of a
    channel with ranges r1 (of the first layer's weights, batch-norm folded in) and r2, the first
    layer gives 1 / s of what it gave and the second takes s times that, s = sqrt(r1 / r2): both
    then have the range sqrt(r1 r2). A depthwise convolution is the second layer of one pair and
    the first of the next; all pairs are gone through until nothing changes.

    A ReLU6 becomes a clamp with a ceiling 6 / s for each channel, which keeps the outputs what they
    are, and which runtimes compute in float32.

    Raises:
        ConfigError: if the network has no such pair, or cannot be traced.
    """
    traced = trace_layers(plain_copy(network).eval(), trains=False)
    # A weight that another layer has as well cannot be scaled for one of them.
    shared = {module for held in shared_parameters(traced) for module, _ in held}
    pairs = [pair for pair in layer_pairs(traced) if not shared & {pair.first, pair.second}]
    if not pairs:
        raise ConfigError(
            "equalize=true: no layer is read by one other layer alone through ReLU, pooling or "
            "nothing, so there is nothing to equalise. Fix: equalize=false"
        )
    clamps = [_replace_clamps(traced, pair, number) for number, pair in enumerate(pairs)]
    dtype = pairs[0].first.weight.dtype
    traced.double()  # thousands of products in float32 would move the outputs
    for _ in range(ROUNDS):
        moved = [_balance(pair, inside) for pair, inside in zip(pairs, clamps, strict=True)]
        if max(moved) < CONVERGED:
            break
    traced.to(dtype)
    traced.graph.lint()
    traced.recompile()
    return traced


def _replace_clamps(traced: fx.GraphModule, pair: LayerPair, number: int) -> list[ChannelClamp]:
    """Put a clamp by channel in the place of each ReLU6 of a pair, and return them."""
    found = []
    for place, node in enumerate(pair.clamps):
        clamp, path = ChannelClamp(len(pair.first.weight)), f"{CLAMPS}.clamp_{number}_{place}"
        traced.add_submodule(path, clamp.to(pair.first.weight.device))
        node.op, node.target = "call_module", path
        node.args, node.kwargs = node.args[:1], {}
        found.append(clamp)
    return found


def _balance(pair: LayerPair, clamps: list[ChannelClamp]) -> float:
    """Equalise one pair, in place, and return how far a scale was from one."""
    first = _first_range(pair)
    second = _second_range(pair, len(first))
    both = (first > 0) & (second > 0)  # a dead channel stays as it is
    scale = torch.where(both, (first / second).sqrt(), 1.0)
    _divide_outputs(pair, scale)
    _multiply_inputs(pair.second, scale)
    for clamp in clamps:
        clamp.ceiling /= scale.view(-1, 1, 1)
    return (scale - 1).abs().max().item()


def _first_range(pair: LayerPair) -> Tensor:
    """Return the largest folded weight of each output channel, (C,)."""
    return pair.first.weight.flatten(1).abs().amax(1) * _factor(pair.norm, pair.first).abs()


def _second_range(pair: LayerPair, channels: int) -> Tensor:
    """Return the largest folded weight that reads each of the channels, (C,)."""
    rows = _factor(pair.second_norm, pair.second)
    weight = pair.second.weight * rows.view(-1, *[1] * (pair.second.weight.dim() - 1))
    return _by_input(weight, pair.second).abs().amax((1, 3)).reshape(channels, -1).amax(1)


def _factor(norm: nn.BatchNorm2d | None, layer: Layer) -> Tensor:
    """Return what batch-norm in eval mode multiplies each channel by, (C,)."""
    if norm is None:
        return torch.ones_like(layer.weight.flatten(1)[:, 0])
    factor = torch.rsqrt(norm.get_buffer("running_var") + norm.eps)
    return factor * norm.weight if norm.affine else factor


def _by_input(weight: Tensor, layer: Layer) -> Tensor:
    """Return weights (O, I / G, ...) as a view (G, O / G, I / G, pixels)."""
    groups = layer.groups if isinstance(layer, nn.Conv2d) else 1
    return weight.view(groups, len(weight) // groups, weight.shape[1], -1)


def _divide_outputs(pair: LayerPair, scale: Tensor) -> None:
    """Divide each channel (C,) that the first layer and its batch-norm give."""
    layer, norm = pair.first, pair.norm
    if norm is not None and norm.affine:
        norm.weight.div_(scale)
        norm.bias.div_(scale)
        return
    layer.weight /= scale.view(-1, *[1] * (layer.weight.dim() - 1))
    if layer.bias is not None:
        layer.bias /= scale
    if norm is not None:
        norm.get_buffer("running_mean").div_(scale)


def _multiply_inputs(layer: Layer, scale: Tensor) -> None:
    """Multiply the weights that read each channel (C,); flattened, a channel is several inputs."""
    view = _by_input(layer.weight, layer)
    inputs = view.shape[0] * view.shape[2]
    view *= scale.repeat_interleave(inputs // len(scale)).view(view.shape[0], 1, -1, 1)
