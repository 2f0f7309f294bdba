"""Lightning's training loop without what it asks and notes anew at every step."""

from collections import OrderedDict
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import lightning.pytorch as pl
from lightning.pytorch.loops.optimization.automatic import ClosureResult, _AutomaticOptimization
from lightning.pytorch.loops.training_epoch_loop import _TrainingEpochLoop
from lightning.pytorch.profilers import PassThroughProfiler
from torch import Tensor


class LeanResult(ClosureResult):
    """What a step returned, divided by the batches of a step only where there are several."""

    @classmethod
    def from_training_step_output(
        cls, training_step_output: Any, normalize: int = 1
    ) -> ClosureResult:
        """Return the step's result; dividing by one costs an operation, and another backward."""
        if normalize == 1 and isinstance(training_step_output, Tensor):
            return cls(training_step_output)
        return super().from_training_step_output(training_step_output, normalize)


class LeanOptimization(_AutomaticOptimization):
    """Automatic optimization with that."""

    output_result_cls = LeanResult


class LeanLoop(_TrainingEpochLoop):
    """An epoch that asks once what Lightning asks at every step.

    What a training step takes, whether the epoch ends in validation, and, where each batch is a
    step of its own, nothing about accumulation.
    """

    _takes: tuple[str, ...] = ()
    _validates: tuple[int, bool] = (-1, False)

    def on_run_start(self, data_fetcher: Any) -> None:
        """Ask anew in each epoch."""
        super().on_run_start(data_fetcher)
        self._takes = ()

    def _should_accumulate(self) -> bool:
        return self.trainer.accumulate_grad_batches != 1 and super()._should_accumulate()

    def _should_check_val_epoch(self) -> bool:
        if self._validates[0] != (epoch := self.trainer.current_epoch):
            self._validates = epoch, super()._should_check_val_epoch()
        return self._validates[1]

    def _build_kwargs(self, kwargs: Any, batch: Any, batch_idx: int) -> Any:
        self._takes = self._takes or tuple(super()._build_kwargs(OrderedDict(), batch, batch_idx))
        return OrderedDict(zip(self._takes, (batch, batch_idx), strict=False))


def lean(trainer: pl.Trainer) -> pl.Trainer:
    """Give `trainer` loops that do the same and cost less; before its fit."""
    old = trainer.fit_loop.epoch_loop
    loop = LeanLoop(trainer, old.min_steps, old.max_steps)
    loop.automatic_optimization = LeanOptimization(trainer)
    trainer.fit_loop.epoch_loop = loop
    return trainer


class Unprofiled(PassThroughProfiler):
    """Measures nothing, as Lightning's own does, which makes 30 generators a step for it."""

    _nothing = nullcontext()

    def profile(self, action_name: str) -> AbstractContextManager[Any]:  # type: ignore[override]
        """Return a context that does nothing."""
        return self._nothing
