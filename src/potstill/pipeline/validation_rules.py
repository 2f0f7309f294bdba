"""Settings of validation that only the data and the task can judge, before the first step."""

from collections.abc import Iterator
from typing import Any

from potstill.config import plugins
from potstill.config.stage_settings import StageConfig
from potstill.errors import ConfigError, nearest
from potstill.pipeline.context import RunContext
from potstill.training.module import DistillationModule


def check_validation(run: RunContext, module: DistillationModule, lone_fits: bool) -> None:
    """Raise where validation would never come, or a callback would wait for no metric.

    Args:
        run: with data after its setup.
        module: student, teacher and heads, prepared.
        lone_fits: whether some network is trained without a teacher.

    Raises:
        ConfigError: with the full key.
    """
    _check_interval(run)
    if plugins.active():  # whose callbacks and tasks may log what they like
        return
    known = module.validation.names(with_teacher=not lone_fits)
    known |= {f"val/ema_{run.task.scoring.main.name}"}
    for key, monitor in _monitors(run):
        if monitor not in known and not monitor.startswith("train/"):
            raise ConfigError(
                f"{key}={monitor}: is not logged by every fit. Fix: {nearest(monitor, known)}"
            )


def check_step(run: RunContext, stage: StageConfig) -> None:
    """Raise where `select=best` and the training between a stage's steps never validates.

    Args:
        run: of the stage.
        stage: one that goes by steps.

    Raises:
        ConfigError: with the full key.
    """
    trainer: Any = run.cfg.trainer
    every, epochs = trainer.get("check_val_every_n_epoch", 1), stage.settings.epochs_between
    if run.cfg.select == "best" and every is not None and epochs < every:
        raise ConfigError(
            f"select=best: stages.{stage.name}.epochs_between={epochs} never reaches the first "
            f"validation, trainer.check_val_every_n_epoch={every}. Fix: select=last"
        )


def _check_interval(run: RunContext) -> None:
    trainer: Any = run.cfg.trainer
    interval = trainer.get("val_check_interval")
    every, limit = trainer.get("check_val_every_n_epoch", 1), trainer.get("limit_train_batches")
    if every is None or type(interval) is not int:
        return
    batches = len(run.data.train_dataloader())
    batches = min(batches, limit) if type(limit) is int else int(batches * (limit or 1.0))
    if interval > batches:
        raise ConfigError(
            f"trainer.val_check_interval={interval}: an epoch has {batches} batches. "
            f"Fix: {batches} or less, or trainer.check_val_every_n_epoch=null"
        )


def _monitors(run: RunContext) -> Iterator[tuple[str, str]]:
    """Yield the key and the metric of each callback that waits for one."""
    groups = {"callbacks": run.cfg.callbacks or {}}
    groups |= {f"stages.{stage.name}.callbacks": stage.callbacks for stage in run.stages}
    for path, group in groups.items():
        for name, node in group.items():
            monitor = node.get("monitor") if node is not None else None
            if isinstance(monitor, str) and monitor != "auto":
                yield f"{path}.{name}.monitor", monitor
