"""Counted seeds of dropout and stochastic depth, so that a resumed run draws the same."""

from typing import Any, ClassVar

import lightning.pytorch as pl
import torch

from potstill.config.ranges import Ranges
from potstill.data.transforms.counted_rng import key


class Reseed(pl.Callback):
    """Seed torch's generators (CPU and accelerators) before each batch by what batch it is.

    The seed is a function of (seed, optimizer step, batch of the epoch, rank): no stream that a
    checkpoint would have to hold, and ranks drop different units.
    """

    ranges: ClassVar[Ranges] = {"seed": "[0, inf)"}

    def __init__(self, seed: int = 0) -> None:
        self.seed = seed

    def on_train_batch_start(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Seed for this batch; with accumulated gradients a step has several."""
        seed = key(self.seed, trainer.global_step, batch_idx, trainer.global_rank)
        # Not torch.manual_seed: for each accelerator that is not in use it stores a whole
        # stack trace, which takes longer than a small network's step.
        torch.default_generator.manual_seed(seed)
        device = trainer.strategy.root_device
        if device.type != "cpu":
            torch.get_device_module(device).manual_seed(seed)
