"""Check of the teacher before step 0: its accuracy against the recorded one."""

import logging
from typing import ClassVar

import lightning.pytorch as pl

from potstill.config.ranges import Ranges
from potstill.errors import DataError
from potstill.tasks.base import Task
from potstill.training.module import DistillationModule
from potstill.training.predict import predict

log = logging.getLogger("potstill")


class TeacherCheck(pl.Callback):
    """Log the teacher's sha256 and validation score; stop where it is far under its record.

    Args:
        accuracy: recorded accuracy as a fraction; None compares with guessing only. Only for a
            task that is judged by accuracy.
        tolerance: how far under the record is still the same teacher.
    """

    ranges: ClassVar[Ranges] = {"accuracy": "[0, 1]", "tolerance": "[0, 1]"}

    def __init__(self, accuracy: float | None = None, tolerance: float = 0.03) -> None:
        self.accuracy, self.tolerance = accuracy, tolerance
        self.sha256: str | None = None

    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Hash and score the teacher on the validation split."""
        assert isinstance(pl_module, DistillationModule)
        teacher, data = pl_module.teacher, getattr(trainer, "datamodule", None)
        if teacher is None or data is None:
            return
        pl_module.task.scoring.need_accuracy("teacher.accuracy", self.accuracy)
        self.sha256 = teacher.sha256
        loader = data.val_dataloader()
        outputs, target = predict(teacher.network, loader, pl_module.device, "checking the teacher")
        task = pl_module.task
        scoring, found = task.scoring, task.score(outputs, target)
        log.info("teacher %s: %s on validation", self.sha256[:12], scoring.main.show(found))
        for logger in trainer.loggers:
            logger.log_metrics({f"teacher/{scoring.val}": found}, step=0)
        if not trainer.fast_dev_run:  # type: ignore[attr-defined]  # nothing has learned anything
            self._judge(task, found, task.untrained_score(outputs, target))

    def _judge(self, task: Task, found: float, untrained: float) -> None:
        """Raise if `found` is under the record, or no better than guessing."""
        main = task.scoring.main
        expected = untrained if self.accuracy is None else self.accuracy - self.tolerance
        # Not "<": a teacher that returns NaN must not pass.
        if not main.gain(found, expected) >= 0:
            recorded = "guessing" if self.accuracy is None else "recorded"
            limit = untrained if self.accuracy is None else self.accuracy
            raise DataError(
                f"module.teacher: {main.show(found)} on validation, {recorded} "
                f"{main.show(limit)}. Fix: other weights, the classes' order, data.mean and "
                "data.std, or teacher.accuracy"
            )

    def on_fit_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Raise if training has changed the teacher."""
        assert isinstance(pl_module, DistillationModule)
        if pl_module.teacher is not None and self.sha256 not in (None, pl_module.teacher.sha256):
            raise RuntimeError("the teacher's weights changed during training")
