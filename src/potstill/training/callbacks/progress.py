"""Progress bar: network, epoch of how many, loss, main score, time left."""

from pathlib import Path
from typing import Any

import lightning.pytorch as pl
from lightning.pytorch.callbacks import RichProgressBar
from rich.progress import TimeRemainingColumn

from potstill.tasks.scoring import Scoring
from potstill.training.step_metrics import StepMetrics


class Progress(RichProgressBar):
    """Lightning's rich bar in one line of 80 columns: epochs from 1, with the network's name.

    Attributes:
        glances: marks that the module's latest step metrics are read without being logged.
    """

    glances = True

    def __init__(self) -> None:
        super().__init__(leave=False)

    def configure_columns(self, trainer: pl.Trainer) -> list[Any]:
        """Return description, bar, batches and the time the epoch still needs.

        Elapsed time and speed are left out: with them the metrics go on over three lines.
        """
        description, bar, batches, *_ = super().configure_columns(trainer)
        bar.bar_width = 10
        return [description, bar, batches, TimeRemainingColumn()]

    def get_metrics(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> dict[str, Any]:
        """Return loss and scores, without the logger's version."""
        known = getattr(pl_module, "record", StepMetrics()).glance.values
        task = getattr(pl_module, "task", None)
        short = _short_names(task.scoring) if task else {}
        metrics: dict[str, Any] = {n: known[n] for n in ("loss", *short) if n in known}
        metrics |= super().get_metrics(trainer, pl_module)
        return {short.get(name, name): value for name, value in metrics.items() if name != "v_num"}

    def _get_train_description(self, current_epoch: int) -> str:
        # Not the Trainer's log_dir: all processes would have to read it, and only one has a bar.
        folder = getattr(self.trainer.logger, "log_dir", None) or self.trainer.default_root_dir
        name = Path(folder).name
        return f"{name or 'epoch'} {current_epoch + 1}/{self.trainer.max_epochs}"


def _short_names(scoring: Scoring) -> dict[str, str]:
    """Return what the bar calls the scores of a step, and the main one of validation."""
    names = {score.name: scoring.short(score.name) for score in scoring.scores}
    return names | {f"val_{names[scoring.main.name]}": "val"}
