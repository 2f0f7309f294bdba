"""Train a network that was pruned before, and keep its zeros."""

from collections.abc import Sequence

import lightning.pytorch as pl
from torch.optim import Optimizer

from potstill.errors import ConfigError
from potstill.pipeline.stages.held_masks import HeldMasks
from potstill.pruning.weights.masks import (
    add_masks,
    mask_gradients,
    masked,
    set_masks,
)
from potstill.training.module import DistillationModule


class KeepZeros(HeldMasks):
    """Hold every weight at zero that is zero when the fit starts, as after `PruneWeights`.

    For the stages that follow a pruning, quantization-aware training too: zeros stay zeros in
    integers. Without it the first step brings the pruned weights back.

    Args:
        layers, untouchable: names; see `add_masks`.
    """

    def __init__(self, layers: Sequence[str] = (), untouchable: Sequence[str] = ()) -> None:
        self.layers, self.untouchable = layers, untouchable

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """Mask the zeros, before a checkpoint is restored into the masks.

        Raises:
            ConfigError: if there are none, or nothing else in a layer.
        """
        assert isinstance(pl_module, DistillationModule)
        if stage != "fit":
            return
        student = pl_module.student
        add_masks(student, self.layers, self.untouchable)
        masks = {place.path: place.weight != 0 for place in masked(student)}
        for path, mask in masks.items():
            if not mask.any():
                raise ConfigError(f"keep_zeros: {path} is all zeros. Fix: make it untouchable")
        if all(mask.all() for mask in masks.values()):
            raise ConfigError("keep_zeros: no weight is zero. Fix: prune before, or leave it out")
        set_masks(student, masks)

    def on_before_optimizer_step(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, optimizer: Optimizer
    ) -> None:
        """Mask the gradients before they are clipped."""
        assert isinstance(pl_module, DistillationModule)
        mask_gradients(pl_module.student)
