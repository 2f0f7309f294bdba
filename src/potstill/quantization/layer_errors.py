"""Layers of a network by the error that each adds in int8."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from potstill.measure.sqnr import centred_sqnr_db
from potstill.models.parametrized import plain_copy
from potstill.quantization.graph.trace import trace_layers
from potstill.quantization.keep_float import kept_layers, norms_after, quantizable
from potstill.quantization.post_training import quantize_static
from potstill.quantization.range_methods import RangeMethod, min_max

BATCH = 64  # images that are in the network at once


@dataclass(frozen=True)
class LayerError:
    """What int8 costs in one layer.

    Attributes:
        layer: its path, as `keep_float` takes it.
        sqnr_db: signal-to-noise ratio of the logits in decibels, the mean over the classes taken
            off, where this layer alone is int8; the lower, the worse.
    """

    layer: str
    sqnr_db: float


def sensitivity(
    network: nn.Module,
    images: Tensor,
    method: RangeMethod = min_max,
    keep_float: Sequence[str] = (),
) -> list[LayerError]:
    """Return the layers of a float network, the one that int8 harms most first.

    For each layer the network is quantized with every other layer in float32 and compared with
    itself in float. The layer's weights are rounded, its input, its output, and what computes
    with that output alone. Each takes three passes over the images. Errors of several layers do
    not add up exactly: this is an order to try `keep_float` in.

    Args:
        network: in float32; a copy in eval mode is used.
        images: (N, C, H, W), which ranges are found on and outputs compared on.
        method: of the ranges of activations.
        keep_float: layers that stay in float32 whatever the others do, and are left out.

    Raises:
        ConfigError: if nothing in the network can be quantized, or a name is no layer.

    Example:
        >>> net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(16, 5))
        >>> _ = nn.init.constant_(net[3].weight[:, 0], 50.0)  # the others fall between two steps
        >>> [error.layer for error in sensitivity(net, torch.rand(8, 3, 4, 4))]
        ['3', '0']
    """
    network = plain_copy(network).eval()
    layers, reference = _layers(network, keep_float), _logits(network, images)
    found = []
    for layer in layers:
        others = [*keep_float, *(other for other in layers if other != layer)]
        parts = images.split(BATCH)
        alone = quantize_static(network, parts, method, len(parts), keep_float=others)
        found.append(LayerError(layer, centred_sqnr_db(reference, _logits(alone, images))))
    return sorted(found, key=lambda error: error.sqnr_db)


def _layers(network: nn.Module, keep_float: Sequence[str]) -> list[str]:
    """Return the layers that int8 changes; a batch-norm after a convolution is part of that."""
    traced = trace_layers(plain_copy(network), trains=False)
    layers = quantizable(traced)
    parts = kept_layers(traced, keep_float) | norms_after(traced, layers)
    return [path for path in layers if path not in parts]


@torch.no_grad()
def _logits(network: nn.Module, images: Tensor) -> Tensor:
    return torch.cat([network(part) for part in images.split(BATCH)])
