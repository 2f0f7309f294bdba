"""Check of the teacher before step 0: its accuracy against the recorded one."""

import logging

import lightning.pytorch as pl

from potstill.errors import DataError
from potstill.measure.metrics import accuracy
from potstill.training.module import DistillationModule
from potstill.training.predict import predict

log = logging.getLogger("potstill")


class TeacherCheck(pl.Callback):
    """Log the teacher's sha256 and validation accuracy; stop where it is far under its record.

    Args:
        accuracy: recorded accuracy as a fraction; None compares with guessing only.
        tolerance: how far under the record is still the same teacher.
    """

    def __init__(self, accuracy: float | None = None, tolerance: float = 0.03) -> None:
        self.accuracy, self.tolerance = accuracy, tolerance
        self.sha256: str | None = None

    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Hash and score the teacher on the validation split."""
        assert isinstance(pl_module, DistillationModule)
        teacher, data = pl_module.teacher, getattr(trainer, "datamodule", None)
        if teacher is None or data is None:
            return
        self.sha256 = teacher.sha256
        loader = data.val_dataloader()
        logits, target = predict(teacher.network, loader, pl_module.device, "checking the teacher")
        found = accuracy(logits, target)
        log.info("teacher %s: %.2f %% on validation", self.sha256[:12], 100 * found)
        for logger in trainer.loggers:
            logger.log_metrics({"teacher/val_accuracy": found}, step=0)
        if not trainer.fast_dev_run:  # type: ignore[attr-defined]  # nothing has learned anything
            self._judge(found, logits.shape[1], len(target))

    def _judge(self, found: float, num_classes: int, count: int) -> None:
        """Raise if `found` is under the record, or no better than guessing (three sigma)."""
        chance = 1 / num_classes
        noise = 3 * (chance * (1 - chance) / count) ** 0.5
        expected = chance + noise if self.accuracy is None else self.accuracy - self.tolerance
        if found < expected:
            recorded = "guessing" if self.accuracy is None else f"recorded {self.accuracy:.2%}"
            raise DataError(
                f"module.teacher: {found:.2%} on validation, {recorded}. Fix: other weights, the "
                "classes' order, data.mean and data.std, or teacher.accuracy"
            )

    def on_fit_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Raise if training has changed the teacher."""
        assert isinstance(pl_module, DistillationModule)
        if pl_module.teacher is not None and self.sha256 not in (None, pl_module.teacher.sha256):
            raise RuntimeError("the teacher's weights changed during training")
