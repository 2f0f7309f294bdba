"""Self-distillation: the teacher is the student's own moving average (arXiv:1703.01780)."""

from typing import Any, ClassVar

import lightning.pytorch as pl
import torch
from torch import Tensor, nn
from torch.optim.swa_utils import get_ema_multi_avg_fn

from potstill.config.ranges import Ranges
from potstill.errors import ConfigError
from potstill.training.callbacks.ema import check_decay
from potstill.training.module import DistillationModule


class EMATeacher(pl.Callback):
    """Keep the teacher equal to an exponential moving average of the student.

    The teacher must be built like the student. Its weights are saved in this callback's state.
    It moves once an optimizer step. A run's baseline has no teacher, and nothing happens there.

    Args:
        decay: of the average, in [0, 1); buffers are copied.

    Raises:
        ConfigError: if the decay is out of range.
    """

    ranges: ClassVar[Ranges] = {"decay": "[0, 1)"}

    def __init__(self, decay: float = 0.999) -> None:
        self.decay = check_decay(decay)
        self._restored: dict[str, Any] | None = None
        self._teacher: nn.Module | None = None
        self._step = 0

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """Let the teacher itself run, not its folded copy, and no cached outputs."""
        assert isinstance(pl_module, DistillationModule)
        pl_module.teacher_moves = True

    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Start from the student, or from the average that was saved."""
        assert isinstance(pl_module, DistillationModule)
        self._teacher = None if pl_module.teacher is None else pl_module.teacher.network
        self._step = trainer.global_step
        if self._teacher is None:
            return
        state = self._restored or pl_module.student.state_dict()
        self._restored = None
        if _shapes(state) != _shapes(self._teacher.state_dict()):
            raise ConfigError(
                "module.teacher: not the student's twin. Fix: the same model for both"
            )
        self._teacher.load_state_dict(state)

    @torch.no_grad()
    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: Any, *_: Any) -> None:
        """Move the teacher a little towards the student."""
        if self._teacher is None or trainer.global_step == self._step:
            return
        self._step = trainer.global_step
        ours = dict(pl_module.student.named_parameters())
        names, moved = zip(*self._teacher.named_parameters(), strict=True)
        get_ema_multi_avg_fn(self.decay)(moved, tuple(ours[name] for name in names), 0)
        buffers = zip(self._teacher.buffers(), pl_module.student.buffers(), strict=True)
        for mine, theirs in buffers:
            mine.copy_(theirs)

    def on_validation_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Compare with the teacher as it is now, not with its outputs of an epoch ago."""
        assert isinstance(pl_module, DistillationModule)
        pl_module.forget_teacher_outputs()

    def state_dict(self) -> dict[str, Any]:
        """Return the average, to be saved."""
        state = {} if self._teacher is None else self._teacher.state_dict()
        return {"teacher": {name: value.cpu() for name, value in state.items()}}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Remember the saved average until the fit starts."""
        self._restored = state_dict["teacher"]


def _shapes(state: dict[str, Tensor]) -> dict[str, torch.Size]:
    return {name: value.shape for name, value in state.items()}
