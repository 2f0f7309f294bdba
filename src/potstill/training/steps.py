"""Optimizer steps of a fit: how many there will be, and what a batch weighs in one."""

import math
from collections.abc import Iterable
from typing import Any

import lightning.pytorch as pl
from lightning.pytorch.callbacks import (
    GradientAccumulationScheduler,
    StochasticWeightAveraging,
    Timer,
)

from potstill.errors import ConfigError


def count_steps(trainer: Any) -> int:
    """Return how many optimizer steps a fit has; see `plan_steps`."""
    return plan_steps(trainer)[0]


def plan_steps(trainer: Any) -> tuple[int, int]:
    """Return how many optimizer steps a fit has, and how many an epoch has on average.

    They follow from the batches of an epoch, `limit_train_batches`, the accumulation of gradients
    (that of a `GradientAccumulationScheduler` too), `max_epochs` and `max_steps`.

    Raises:
        ConfigError: if nobody can know: with `max_time`, or for data without a length.
    """
    check_time(trainer.callbacks)
    batches, most = _batches(trainer), trainer.max_steps
    if batches == math.inf or trainer.max_epochs < 0:
        if most < 0:
            raise ConfigError("trainer.max_steps=-1: the fit has no end. Fix: trainer.max_steps=N")
        one = most if batches == math.inf else math.ceil(batches / accumulated(trainer, 0))
        return most, max(one, 1)
    epochs = range(trainer.max_epochs)
    total = sum(math.ceil(batches / accumulated(trainer, epoch)) for epoch in epochs)
    return (total if most < 0 else min(total, most)), max(total // max(len(epochs), 1), 1)


def accumulated(trainer: Any, epoch: int) -> int:
    """Return how many batches an optimizer step of an epoch takes."""
    for callback in trainer.callbacks:
        if isinstance(callback, GradientAccumulationScheduler):
            return callback.get_accumulate_grad_batches(epoch)
    return int(trainer.accumulate_grad_batches)


def weight_in_step(batch_idx: int, accumulated: int, batches: float) -> float:
    """Return what a batch's loss is multiplied by, so that a step takes the mean of its batches.

    Lightning divides every loss by `accumulated`, also where fewer batches are left in an epoch.

    Args:
        batch_idx: in its epoch.
        accumulated: batches of a step.
        batches: of the epoch; inf where nobody knows.

    Example:
        >>> [weight_in_step(index, accumulated=4, batches=6) for index in (0, 3, 4, 5)]
        [1.0, 1.0, 2.0, 2.0]
    """
    first = batch_idx - batch_idx % accumulated
    return accumulated / min(accumulated, batches - first)


def check_averaging(callbacks: Iterable[pl.Callback]) -> None:
    """Raise ConfigError where Lightning's stochastic weight averaging is among the callbacks."""
    if any(isinstance(callback, StochasticWeightAveraging) for callback in callbacks):
        raise ConfigError(
            "callbacks=StochasticWeightAveraging: with batch norm it ends a step past the average. "
            "Fix: callbacks=ema select=ema"
        )


def check_time(callbacks: Iterable[pl.Callback]) -> None:
    """Raise ConfigError where a fit ends by the clock, which no schedule can be laid over."""
    if any(isinstance(callback, Timer) for callback in callbacks):
        raise ConfigError(
            "trainer.max_time: no schedule knows how many steps fit into a time. "
            "Fix: trainer.max_steps or trainer.max_epochs"
        )


def _batches(trainer: Any) -> float:
    """Return the batches of an epoch.

    Lightning's own count sets the loader up before a checkpoint is restored, and a resumed epoch
    would start over; it serves only where there is no data module.
    """
    data = getattr(trainer, "datamodule", None)
    if data is None:
        if trainer.train_dataloader is None:
            trainer.fit_loop.setup_data()
        return float(trainer.num_training_batches)
    batches, limit = len(data.train_dataloader()), trainer.limit_train_batches
    return min(batches, limit) if isinstance(limit, int) else int(batches * (limit or 0.0))
