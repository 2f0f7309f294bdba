"""Training loop equal to Lightning's, bit for bit, that looks up less at each step.

It overrides private names; `potstill.training.loop` imports it only where they are there.
"""

from collections import OrderedDict
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import lightning.pytorch as pl
from lightning.pytorch.profilers import PassThroughProfiler
from torch import Tensor

from potstill.libraries.lightning import (
    AutomaticOptimization,
    ClosureResult,
    TrainingEpochLoop,
)
from potstill.training.fast_module import FastModule


class FastResult(ClosureResult):
    """A step's result, divided by the batches of a step only where there are several."""

    @classmethod
    def from_training_step_output(
        cls, training_step_output: Any, normalize: int = 1
    ) -> ClosureResult:
        """Return the step's result; dividing by one costs an operation, and another backward."""
        if normalize == 1 and isinstance(training_step_output, Tensor):
            return cls(training_step_output)
        return super().from_training_step_output(training_step_output, normalize)


class FastOptimization(AutomaticOptimization):
    """Automatic optimization with `FastResult`."""

    output_result_cls = FastResult


class FastLoop(TrainingEpochLoop):
    """An epoch that looks up once what Lightning looks up at each step.

    That is: what a training step takes, whether the epoch ends in validation, whether anything
    hooks into a batch's transfer, and, where each batch is a step, nothing about accumulation.
    """

    _takes: tuple[str, ...] = ()
    _validates: tuple[int, bool] = (-1, False)

    def run(self, data_fetcher: Any) -> None:
        """Run an epoch; the module is afterwards as it was, also where a step raised."""
        module = self.trainer.lightning_module
        known: AbstractContextManager[None] = nullcontext()
        if isinstance(module, FastModule):
            known = module.batch_hooks_known(getattr(self.trainer, "datamodule", None))
        with known:
            super().run(data_fetcher)

    def on_run_start(self, data_fetcher: Any) -> None:
        """Look everything up once for this epoch."""
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


def install(trainer: pl.Trainer) -> pl.Trainer:
    """Give `trainer`, before its fit, the fast loop; return it."""
    old = trainer.fit_loop.epoch_loop
    loop = FastLoop(trainer, old.min_steps, old.max_steps)
    loop.automatic_optimization = FastOptimization(trainer)
    trainer.fit_loop.epoch_loop = loop
    if type(trainer.profiler) is PassThroughProfiler:  # type: ignore[attr-defined]
        trainer.profiler = Unprofiled()  # type: ignore[attr-defined]
    return trainer


class Unprofiled(PassThroughProfiler):
    """A profiler that measures nothing without making a generator for each of 30 calls a step."""

    _nothing = nullcontext()

    def profile(self, action_name: str) -> AbstractContextManager[Any]:  # type: ignore[override]
        """Return a context that does nothing."""
        return self._nothing
