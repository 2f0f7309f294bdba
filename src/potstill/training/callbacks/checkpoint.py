"""Checkpoints after whole optimizer steps, so that resumption is bit-exact."""

import math
from pathlib import Path
from typing import Any, ClassVar

import lightning.pytorch as pl
import torch
from lightning.pytorch.callbacks import Checkpoint as LightningCheckpoint

from potstill.config.ranges import Ranges
from potstill.errors import ConfigError, NonFiniteError
from potstill.tasks.base import Task
from potstill.training.checkpoints import files
from potstill.training.checkpoints.identity import compare, environment
from potstill.training.checkpoints.io import CheckedIO
from potstill.training.checkpoints.loop_state import let_validation_follow, validation_follows
from potstill.training.checkpoints.new_settings import drop_saved_settings, follow_new_schedule


class Checkpoint(LightningCheckpoint):
    """Keep the last checkpoints of a run, and the best by a validation metric.

    All lie in `checkpoints/` of the trainer's default_root_dir: step-NNNNNNNN.ckpt and best.ckpt.
    They are written after whole optimizer steps; at an epoch's end that is before validation,
    which a resumed run makes again. Where nothing resumes exactly (the last batch of an epoch
    without validation, or of max_steps), the save waits for the next step. Of equal metrics the
    earlier checkpoint stays the best.

    Args:
        every_n_steps: save after each n optimizer steps; None for never.
        every_n_epochs: save after the last batch of each n-th epoch; None for never.
        monitor: a metric that validation logs; "auto" for the task's main score; None keeps no
            best.
        mode: "max" or "min"; None for the direction that the task gives the metric.
        keep: how many of the last are kept.

    Attributes:
        identity: settings and data of this fit, saved with it and compared when it goes on.
        allow: which of them may differ.
    """

    ranges: ClassVar[Ranges] = {
        "every_n_steps": "[1, inf)",
        "every_n_epochs": "[1, inf)",
        "monitor": "not empty",
        "mode": ("max", "min"),
        "keep": "[1, inf)",
    }

    def __init__(
        self,
        every_n_steps: int | None = None,
        every_n_epochs: int | None = 1,
        monitor: str | None = "auto",
        mode: str | None = None,
        keep: int = 2,
    ) -> None:
        for name, value in (("steps", every_n_steps), ("epochs", every_n_epochs)):
            if value is not None and value < 1:
                raise ConfigError(f"callbacks.checkpoint.every_n_{name}={value}: Fix: 1 or more")
        if mode not in ("max", "min", None):
            raise ConfigError(f"callbacks.checkpoint.mode={mode}: unknown. Fix: max or min")
        if keep < 1:
            raise ConfigError(f"callbacks.checkpoint.keep={keep}: too few. Fix: 1 or more")
        self.every_n_steps, self.every_n_epochs = every_n_steps, every_n_epochs
        self.monitor, self.mode, self.keep = monitor, mode, keep
        self.identity: dict[str, Any] = {}
        self.allow: tuple[str, ...] = ()
        self.best: float | None = None
        self.saved: int | None = None  # optimizer steps of the last save
        self._due = self._has_new_settings = False

    @property
    def best_model_path(self) -> str:
        """The best checkpoint, or "" where there is none yet."""
        return "" if self.best is None else str(self.folder / files.BEST)

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """Take over the Trainer's reading and writing; tidy up after a killed attempt."""
        self.folder = Path(trainer.default_root_dir) / "checkpoints"
        if stage != "fit":
            return
        self._follow(getattr(pl_module, "task", None))
        trainer.strategy.checkpoint_io = CheckedIO()
        teacher = getattr(pl_module, "teacher", None)
        # Now, because a self-distilling run's teacher moves.
        self._facts = {
            "world_size": trainer.world_size,
            "teacher_sha256": getattr(teacher, "sha256", None),
            **environment(),
        }
        if trainer.is_global_zero:
            files.clean(self.folder)

    def _follow(self, task: Task | None) -> None:
        """Monitor the task's main score, where no setting names another."""
        if self.monitor == "auto":
            self.monitor = task.scoring.monitor if task else None
        if self.monitor is not None and self.mode is None:
            self.mode = task.scoring.mode(self.monitor) if task else None
            if self.mode is None:
                raise ConfigError(
                    f"callbacks.checkpoint.monitor={self.monitor}: no score of the task, so that "
                    "more or less of it may be better. Fix: callbacks.checkpoint.mode=max or min"
                )

    # -- saving ---------------------------------------------------------------------------

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, out: Any, batch: Any, index: int
    ) -> None:
        """Save if it is time, and the step is whole."""
        last = trainer.is_last_batch
        if not (last or (index + 1) % trainer.accumulate_grad_batches == 0):
            return
        step, epoch = self.every_n_steps, self.every_n_epochs
        self._due |= step is not None and trainer.global_step % step == 0
        self._due |= epoch is not None and last and (trainer.current_epoch + 1) % epoch == 0
        if self._due:
            self.save(trainer)

    def save(self, trainer: pl.Trainer) -> Path | None:
        """Save after the step that has just been made; None if the next one must be awaited."""
        if self.saved == trainer.global_step:
            return self.folder / files.name_of(self.saved)
        if not _resumes_exactly(trainer):
            return None
        path = self._write(trainer, files.name_of(trainer.global_step))
        if trainer.is_global_zero:
            files.prune(self.folder, trainer.global_step, self.keep)
        self.saved, self._due = trainer.global_step, False
        return path

    def _write(self, trainer: pl.Trainer, name: str) -> Path:
        _check_finite(trainer)
        for logger in trainer.loggers:  # a row before the checkpoint is not logged again
            logger.save()
        trainer.save_checkpoint(self.folder / name, False)  # not the weights only
        return self.folder / name

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Keep the checkpoint if none was better."""
        if self.monitor is None or trainer.sanity_checking or trainer.state.fn != "fit":
            return
        if self.monitor not in trainer.callback_metrics:
            raise ConfigError(
                f"callbacks.checkpoint.monitor={self.monitor}: not logged. "
                f"Fix: one of {', '.join(sorted(trainer.callback_metrics))}"
            )
        value = float(trainer.callback_metrics[self.monitor])
        sign = 1 if self.mode == "max" else -1
        if sign * value > (-math.inf if self.best is None else sign * self.best):
            self.best = value
            self._keep_best(trainer)

    def _keep_best(self, trainer: pl.Trainer) -> None:
        if self.saved != trainer.global_step:
            self._write(trainer, files.BEST)
        elif trainer.is_global_zero:
            files.link(self.folder / files.name_of(self.saved), self.folder / files.BEST)

    def state_dict(self) -> dict[str, Any]:
        """Return the best metric so far."""
        return {"best": self.best}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on comparing with the best so far."""
        self.best = state_dict["best"]

    def on_save_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Add what the run is, and put the loops where a resume goes on exactly."""
        checkpoint["identity"] = self.identity | self._facts
        if validation_follows(trainer):
            let_validation_follow(checkpoint["loops"]["fit_loop"])

    # -- going on -------------------------------------------------------------------------

    def on_load_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Refuse other settings than those it was saved with, but for the allowed ones.

        Raises:
            ConfigError: naming each changed setting, old -> new.
        """
        self.saved = checkpoint["global_step"]
        if compare(checkpoint["identity"], self.identity | self._facts, self.allow):
            drop_saved_settings(checkpoint)
            self._has_new_settings = True

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Let allowed new settings count from the first step."""
        if self._has_new_settings:
            for config in trainer.lr_scheduler_configs:
                follow_new_schedule(config.scheduler)


def _resumes_exactly(trainer: pl.Trainer) -> bool:
    if -1 < trainer.max_steps <= trainer.global_step:
        return False
    return not trainer.is_last_batch or validation_follows(trainer)


def _check_finite(trainer: pl.Trainer) -> None:
    """Raise rather than save NaN: parameters must be finite, buffers (ranges may start at inf)."""
    module = trainer.lightning_module
    good = [p.detach().isfinite().all() for p in module.parameters()]
    good += [~buffer.isnan().any() for buffer in module.buffers()]
    if not torch.stack(good).all():
        raise NonFiniteError(
            f"step={trainer.global_step}: a weight is not finite; no checkpoint is written. "
            "Fix: a lower learning rate or gradient clipping, then resume=true"
        )
