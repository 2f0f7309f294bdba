"""Exponential moving average of the student's weights, validated beside them (arXiv:1703.01780)."""

import copy
from collections.abc import Sequence
from typing import Any, ClassVar

import lightning.pytorch as pl
import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from torchmetrics import Metric

from potstill.config.ranges import Ranges
from potstill.data.loaders.batch import unpack
from potstill.errors import ConfigError
from potstill.pruning.weights.masks import apply_masks
from potstill.training.module import DistillationModule


def decay_at(count: int, decay: float, warmup: bool) -> float:
    """Return the decay of the update after `count` others.

    With a warm-up it is at most (1 + count) / (10 + count), so that a short run forgets where
    it started.

    Example:
        >>> [round(decay_at(count, decay=0.999, warmup=True), 3) for count in (0, 9, 10**6)]
        [0.1, 0.526, 0.999]
    """
    return min(decay, (1 + count) / (10 + count)) if warmup else decay


def check_decay(decay: float) -> float:
    """Return the decay of an average; ConfigError unless it is in [0, 1)."""
    if not 0 <= decay < 1:
        raise ConfigError(f"decay={decay}: must be in [0, 1). Fix: decay=0.999")
    return decay


class EMA(pl.Callback):
    """Average the deployed student once an optimizer step, and log its main score.

    The average holds the weights; buffers are copied, masks hold in it as well. It is saved
    with its counter in this callback's state; there is no teacher in it. The first update
    copies the student. Its score is `val/ema_NAME`: `val/ema_accuracy` for classification.

    Args:
        decay: of the average, in [0, 1).
        warmup: whether the decay starts low and grows to `decay`.

    Raises:
        ConfigError: if the decay is out of range.
    """

    ranges: ClassVar[Ranges] = {"decay": "[0, 1)"}

    def __init__(self, decay: float = 0.999, warmup: bool = True) -> None:
        self.decay, self.warmup = check_decay(decay), warmup
        self._averaged: AveragedModel | None = None
        self._student: nn.Module | None = None
        self._restored: dict[str, Any] = {}
        self._score: Metric | None = None

    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Copy the student, whose structure is final by now, or take up the saved average."""
        assert isinstance(pl_module, DistillationModule)
        self._student = pl_module.export_student()
        self._averaged = AveragedModel(self._student, multi_avg_fn=self._move)
        self._averaged.eval().requires_grad_(False)
        if self._restored:
            self._averaged.load_state_dict(self._restored)
            self._restored = {}
        metrics = pl_module.task.metrics(pl_module.num_outputs)
        self._score = metrics[pl_module.task.scoring.main.name].to(pl_module.device)

    def on_train_start(self, trainer: pl.Trainer, pl_module: Any) -> None:
        """Move after every optimizer step, before any other callback can save."""
        for optimizer in trainer.optimizers:
            optimizer.register_step_post_hook(lambda *_: self._update())

    def _update(self) -> None:
        averaged, student = self._live(), self._student
        assert student is not None
        averaged.update_parameters(student)
        apply_masks(averaged.module)

    def _move(self, average: Any, student: Any, count: Tensor | int) -> None:
        decay = decay_at(int(self._live().n_averaged), self.decay, self.warmup)
        get_ema_multi_avg_fn(decay)(average, student, count)

    def _live(self) -> AveragedModel:
        assert self._averaged is not None
        return self._averaged

    def average(self, module: DistillationModule) -> nn.Module:
        """Put the average into `module` and return its deployed network, as `export_student` does.

        The student's own weights are overwritten. Where a stage has finalized the student after
        the fit, it is a copy of the average as it was trained, to be finalized as well.
        """
        network, averaged = module.export_student(), self._live().module
        if network.state_dict().keys() != averaged.state_dict().keys():
            return copy.deepcopy(averaged)
        network.load_state_dict(averaged.state_dict())
        return network

    # -- beside the student ------------------------------------------------------------------

    @torch.no_grad()
    def on_validation_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        outputs: Any,
        batch: Sequence[Any],
        *_: Any,
    ) -> None:
        """Show the average the same images."""
        if self._averaged is None or self._score is None:
            return
        image, target, _ids = unpack(tuple(batch))
        with trainer.precision_plugin.val_step_context():
            outputs = self._averaged(image)
        self._score.update(outputs.float(), target)

    def on_validation_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Log the average's score."""
        assert isinstance(pl_module, DistillationModule)
        if self._score is not None:
            pl_module.log(f"val/ema_{pl_module.task.scoring.main.name}", self._score.compute())
            self._score.reset()

    # -- resume ------------------------------------------------------------------------------

    def state_dict(self) -> dict[str, Any]:
        """Return the average and its counter."""
        state = {} if self._averaged is None else self._averaged.state_dict()
        return {"averaged": {name: value.cpu() for name, value in state.items()}}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Remember the saved average until the fit starts."""
        self._restored = state_dict["averaged"]
