"""What keeps masked weights at zero while a network trains."""

from typing import Any

import lightning.pytorch as pl
from torch import nn

from potstill.pipeline.stages.base import Change
from potstill.pruning.weights.masks import apply_masks, remove_masks


class HeldMasks(Change):
    """Apply the student's masks after every optimizer step; make the zeros permanent at the end."""

    def on_train_start(self, trainer: pl.Trainer, pl_module: Any) -> None:
        """Mask after every optimizer step, before any other callback can see the weights."""
        for optimizer in trainer.optimizers:
            optimizer.register_step_post_hook(lambda *_: apply_masks(pl_module.student))

    def finish(self, network: nn.Module) -> nn.Module:
        """Return the network without masks, the zeros in its weights."""
        return remove_masks(network)
