"""Private names of Lightning in use."""

from contextlib import suppress
from typing import Any

import lightning.pytorch as pl

with suppress(ImportError):  # the fast loop alone needs them, where `LOOP` is all there
    from lightning.pytorch.loops.optimization.automatic import (
        ClosureResult,
    )
    from lightning.pytorch.loops.optimization.automatic import (
        _AutomaticOptimization as AutomaticOptimization,
    )
    from lightning.pytorch.loops.training_epoch_loop import _TrainingEpochLoop as TrainingEpochLoop

__all__ = [
    "AutomaticOptimization", "ClosureResult", "TrainingEpochLoop", "datamodule_of", "set_writer",
    "start_method", "validation_is_due", "wandb_arguments", "writer_of",
]  # fmt: skip

_EPOCH = "lightning.pytorch.loops.training_epoch_loop._TrainingEpochLoop"
_STEP = "lightning.pytorch.loops.optimization.automatic"
# What the fast training loop overrides, and how it is called.
LOOP = {
    _EPOCH: ("trainer", "min_steps", "max_steps"),
    f"{_EPOCH}.run": ("self", "data_fetcher"),
    f"{_EPOCH}.on_run_start": ("self", "data_fetcher"),
    f"{_EPOCH}._should_accumulate": ("self",),
    f"{_EPOCH}._should_check_val_epoch": ("self",),
    f"{_EPOCH}._build_kwargs": ("self", "kwargs", "batch", "batch_idx"),
    f"{_STEP}._AutomaticOptimization": ("trainer",),
    f"{_STEP}._AutomaticOptimization.output_result_cls": (),
    f"{_STEP}.ClosureResult.from_training_step_output": ("training_step_output", "normalize"),
    "lightning.pytorch.LightningModule._call_batch_hook": ("self", "hook_name", "args"),
    "lightning.pytorch.profilers.PassThroughProfiler.profile": ("self", "action_name"),
}
# What is read or overridden elsewhere.
NAMES = {
    f"{_EPOCH}._should_check_val_fx": ("self", "data_fetcher"),
    "lightning.pytorch.callbacks.RichProgressBar._get_train_description": (
        "self",
        "current_epoch",
    ),
}


def validation_is_due(trainer: pl.Trainer) -> bool:
    """Return whether validation follows the batch in training; False outside of an epoch."""
    fetcher = trainer.fit_loop._data_fetcher
    return fetcher is not None and trainer.fit_loop.epoch_loop._should_check_val_fx(fetcher)


def datamodule_of(module: pl.LightningModule) -> Any:
    """Return the data module a module is trained on; None without one, or without a Trainer."""
    return getattr(module._trainer, "datamodule", None)


def start_method(strategy: Any) -> str:
    """Return how a DDP strategy starts its processes; "popen": something else did."""
    return str(strategy._start_method)


def wandb_arguments(logger: Any) -> dict[str, Any]:
    """Return what a WandbLogger will give to `wandb.init`, to change."""
    arguments: dict[str, Any] = logger._wandb_init
    return arguments


def writer_of(logger: Any) -> Any:
    """Return a CSVLogger's writer, None before its first use."""
    return logger._experiment


def set_writer(logger: Any, writer: Any) -> Any:
    """Give a CSVLogger its writer, and return it."""
    logger._experiment = writer
    return writer
