"""Sparsity of a masked network, and what its zeros save in a compressed file.

They save no time: a dense kernel multiplies by them.
"""

from safetensors.torch import save
from torch import nn

from potstill.measure.counts import gzip_bytes, stored
from potstill.pruning.weights.masks import masked


def masked_share(model: nn.Module) -> float:
    """Return the share of the weights under masks that are pruned, 0 to 1."""
    masks = [place.mask for place in masked(model)]
    return sum(int((~mask).sum()) for mask in masks) / sum(mask.numel() for mask in masks)


def compressed_bytes(model: nn.Module, level: int = 6) -> int:
    """Return the bytes of the network's safetensors file after gzip, without its masks."""
    masks = [place.mask for place in masked(model)]
    return gzip_bytes(save(stored(model, without=masks)), level)
