"""Sparsity, and the file size it saves. No time: a dense kernel multiplies by zeros."""

import gzip
from typing import NamedTuple

from safetensors.torch import save
from torch import Tensor, nn

from potstill.pruning.weights.masks import masked, prunable


class Zeros(NamedTuple):
    """How many weights are zero, of how many."""

    zeros: int
    total: int

    @property
    def share(self) -> float:
        """The sparsity, from 0 to 1."""
        return self.zeros / self.total


def zeros_by_weight(model: nn.Module) -> dict[str, Zeros]:
    """Return the zeros of each weight that could be pruned, masked or not, by path."""
    weights = {place.path: place.weight for place in prunable(model)}
    return {
        path: Zeros(int((weight == 0).sum()), weight.numel()) for path, weight in weights.items()
    }


def sparsity_of(model: nn.Module) -> float:
    """Return the share of zeros in all weights that could be pruned, untouchable ones too."""
    counts = zeros_by_weight(model).values()
    return sum(c.zeros for c in counts) / sum(c.total for c in counts)


def compressed_bytes(model: nn.Module, level: int = 6) -> int:
    """Return the bytes of the network's safetensors file after gzip, without its masks."""
    return len(gzip.compress(save(_stored(model)), level, mtime=0))


def _stored(model: nn.Module) -> dict[str, Tensor]:
    """Return the state without masks, a shared tensor once."""
    masks = {id(place.mask) for place in masked(model)}
    state = model.state_dict(keep_vars=True)
    first = {id(value): name for name, value in reversed(state.items()) if id(value) not in masks}
    return {name: state[name].detach().cpu().contiguous() for name in first.values()}
