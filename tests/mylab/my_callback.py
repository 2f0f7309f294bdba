"""A file with the loss of each step."""

from pathlib import Path
from typing import Any

import lightning.pytorch as pl


class LossFile(pl.Callback):
    """Append the loss of each step to `losses.txt` in the folder of the fit."""

    def on_train_batch_end(
        self, trainer: pl.Trainer, module: pl.LightningModule, outputs: Any, *_: Any
    ) -> None:
        """Write a line."""
        with Path(trainer.default_root_dir, "losses.txt").open("a") as file:
            file.write(f"{outputs['loss'].item()}\n")
