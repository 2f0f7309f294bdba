"""Training of a network that was pruned before, its zeros held."""

from collections.abc import Sequence

import lightning.pytorch as pl
from torch import nn

from potstill.errors import ConfigError
from potstill.pipeline.stages.base import Stage
from potstill.pipeline.stages.context import StageContext
from potstill.pipeline.stages.held_masks import HeldMasks
from potstill.pruning.weights.masks import add_masks, masked, remove_masks, set_masks


class KeepZeros(Stage):
    """Hold every weight at zero that is zero when the fit starts, as after `PruneWeights`.

    For the stages that follow a pruning, quantization-aware training too: zeros stay zeros in
    int8. Without it the first step brings the pruned weights back.

    Args:
        layers, untouchable: names; see `add_masks`.
    """

    def __init__(self, layers: Sequence[str] = (), untouchable: Sequence[str] = ()) -> None:
        self.layers, self.untouchable = layers, untouchable

    def apply(self, network: nn.Module, context: StageContext) -> nn.Module:
        """Mask the zeros.

        Raises:
            ConfigError: if there are none, or nothing else in a layer.
        """
        add_masks(network, self.layers, self.untouchable)
        if context.dry_run:  # untrained weights have no zeros to keep
            return network
        masks = {place.path: place.weight != 0 for place in masked(network)}
        for path, mask in masks.items():
            if not mask.any():
                raise ConfigError(f"keep_zeros: {path} is all zeros. Fix: make it untouchable")
        if all(mask.all() for mask in masks.values()):
            raise ConfigError("keep_zeros: no weight is zero. Fix: prune before, or leave it out")
        set_masks(network, masks)
        return network

    def callbacks(self) -> list[pl.Callback]:
        """Return what holds them."""
        return [HeldMasks()]

    def finalize(self, network: nn.Module) -> nn.Module:
        """Return the network without masks, the zeros in its weights."""
        return remove_masks(network)
