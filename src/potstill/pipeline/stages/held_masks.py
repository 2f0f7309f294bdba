"""Callback that holds masked weights at zero while a network trains."""

import lightning.pytorch as pl
from torch.optim import Optimizer

from potstill.pruning.weights.masks import apply_masks, mask_gradients
from potstill.training.module import DistillationModule


class HeldMasks(pl.Callback):
    """Mask the gradients before every optimizer step, and the weights after it."""

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Mask after every optimizer step, before any other callback can see the weights."""
        assert isinstance(pl_module, DistillationModule)
        for optimizer in trainer.optimizers:
            optimizer.register_step_post_hook(lambda *_: apply_masks(pl_module.student))

    def on_before_optimizer_step(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, optimizer: Optimizer
    ) -> None:
        """Mask the gradients before they are clipped."""
        assert isinstance(pl_module, DistillationModule)
        mask_gradients(pl_module.student)
