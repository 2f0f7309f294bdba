"""Interrupts: Ctrl-C, SIGTERM and SLURM's SIGUSR1 finish the step and save a checkpoint."""

import signal
from pathlib import Path
from types import FrameType
from typing import Any

import lightning.pytorch as pl
import torch
from lightning.pytorch.callbacks import Checkpoint as LightningCheckpoint

from potstill.config.quoting import in_shell
from potstill.errors import ConfigError, Interrupted
from potstill.training.callbacks.checkpoint import Checkpoint
from potstill.training.checkpoints.files import name_of


class Interrupt(LightningCheckpoint):
    """Turn SIGINT, SIGTERM and SIGUSR1 into a saved checkpoint and exit code 130, 143 or 138.

    The signal only sets a flag; the checkpoint is written at the end of the step that is
    running, where nothing is half-done, and every process of a run stops at the same step. A
    second Ctrl-C stops at once, saving nothing.

    It counts as one of Lightning's checkpoint callbacks, which come after all others: what they
    change at a step's end (such as a moving average) must be in the checkpoint.
    """

    signals = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)

    def __init__(self) -> None:
        self.received: int | None = None
        self._before: dict[int, Any] = {}

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """Find the callback that saves."""
        saving = [c for c in trainer.checkpoint_callbacks if isinstance(c, Checkpoint)]
        if not saving:
            raise ConfigError(
                "callbacks.interrupt: nothing saves. Fix: callbacks.checkpoint, or interrupt: null"
            )
        self._checkpoint = saving[0]

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Take over the signals, after Lightning has set its own."""
        self.received = None
        self._before = {number: signal.signal(number, self._note) for number in self.signals}

    def _note(self, number: int, frame: FrameType | None) -> None:
        if self.received is not None:
            raise KeyboardInterrupt
        self.received = number

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, out: Any, batch: Any, index: int
    ) -> None:
        """Save and leave, if a signal came during the step and the step is whole."""
        number = self._agreed(trainer)
        whole = trainer.is_last_batch or (index + 1) % trainer.accumulate_grad_batches == 0
        if number and whole and (path := self._checkpoint.save(trainer)):
            raise _interrupted(number, trainer.global_step, path)

    def on_validation_batch_end(self, trainer: pl.Trainer, *_: Any) -> None:
        """Leave validation, which a resume makes again, if it began with a checkpoint."""
        if trainer.state.fn == "fit" and not trainer.sanity_checking:
            self._leave(trainer)

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Give the signals back; leave if one came too late for a step."""
        self._release()
        self._leave(trainer, late=True)

    def _leave(self, trainer: pl.Trainer, late: bool = False) -> None:
        number, saved = self._agreed(trainer), self._checkpoint.saved
        if number and saved is not None and (late or saved == trainer.global_step):
            raise _interrupted(number, saved, self._path(saved))

    def _path(self, step: int) -> Path:
        return self._checkpoint.folder / name_of(step)

    def _agreed(self, trainer: pl.Trainer) -> int:
        """Return the highest signal that any process got, 0 for none."""
        if trainer.world_size == 1:
            return self.received or 0
        mine = torch.tensor(self.received or 0, device=trainer.strategy.root_device)
        return int(trainer.strategy.reduce(mine, reduce_op="max"))

    def _release(self) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        self._before = {}

    def on_exception(self, trainer: pl.Trainer, *_: Any) -> None:
        """Give the signals back."""
        self._release()


def _interrupted(number: int, step: int, path: Path) -> Interrupted:
    run = path.parents[2]  # of RUN/NETWORK/checkpoints/step-NNNNNNNN.ckpt
    return Interrupted(number, step, path, in_shell("hydra.run.dir", str(run)))
