"""Construction of the Trainer of one fit, with its loggers, callbacks and loops."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
from lightning.fabric.utilities.exceptions import MisconfigurationException
from omegaconf import DictConfig, OmegaConf

from potstill.config.instantiate import instantiate
from potstill.config.trainer_settings import check_trainer
from potstill.distributed import collectives
from potstill.distributed.strategy import strategy
from potstill.errors import ConfigError
from potstill.training.loggers.csv import MetricsFile
from potstill.training.loop import use_loop
from potstill.training.precision import AUTO, HALF_MIXED
from potstill.training.steps import check_time


def make_trainer(
    cfg: DictConfig, folder: Path | None, epochs: int, extra: Sequence[pl.Callback] = ()
) -> pl.Trainer:
    """Return the Trainer of one fit, its loggers and callbacks writing under `folder`.

    With no folder it is a bare Trainer, to see whether the settings make one, and which device is
    its. With one, `trainer.precision` is settled for that device; see `settle_precision`.

    Raises:
        ConfigError: where they do not.
    """
    if folder is None:
        return _bare_trainer(cfg, epochs)
    if collectives.is_first():
        _set_aside(folder / "metrics.csv")
    nodes = [node for node in cfg.callbacks.values() if node is not None]
    csv = MetricsFile(folder.parent, name="", version=folder.name)
    others = [_logger(node, folder) for node in (cfg.logger or {}).values()]
    trainer = _built(
        cfg,
        max_epochs=epochs,
        callbacks=[*extra, *(instantiate(node) for node in nodes)],
        logger=[csv, *others],
        default_root_dir=str(folder),
        **strategy(cfg),
    )
    return use_loop(trainer, cfg.loop)


def _bare_trainer(cfg: DictConfig, epochs: int) -> pl.Trainer:
    quiet: dict[str, Any] = {"logger": False, "callbacks": [], "enable_checkpointing": False}
    # Its device will decide what these mean; Lightning would make something else of the second.
    if str(cfg.trainer.get("precision")) in (AUTO, *HALF_MIXED):
        quiet["precision"] = "32-true"
    settings: Any = OmegaConf.to_container(cfg.trainer, resolve=True)
    check_trainer(settings, "trainer")
    trainer = _built(cfg, max_epochs=epochs, **strategy(cfg), **quiet)
    if cfg.module.get("scheduler") or cfg.get("stages"):
        check_time(trainer.callbacks)  # type: ignore[attr-defined]
    return use_loop(trainer, cfg.loop)


def _built(cfg: DictConfig, **settings: Any) -> pl.Trainer:
    try:
        return instantiate(cfg.trainer, **settings)
    except MisconfigurationException as error:
        reason = " ".join(str(error).split()).rstrip(".")
        barless = cfg.trainer.get("enable_progress_bar") is False
        fix = "callbacks.progress=null as well" if barless else "what is under trainer"
        named = (key for key in cfg.trainer if re.search(rf"\b{key}\b", reason))
        key = ".".join(["trainer", *list(named)[:1]])
        raise ConfigError(f"{key}: {reason}. Fix: {fix}") from error


def _set_aside(metrics: Path) -> None:
    """Rename an earlier attempt's metrics.csv: the logger would delete it."""
    if metrics.is_file():
        attempt = len(list(metrics.parent.glob("metrics-*.csv"))) + 1
        metrics.rename(metrics.with_name(f"metrics-{attempt:04d}.csv"))


def _logger(node: DictConfig, folder: Path) -> Any:
    extra = {"save_dir": str(folder)}
    if node._target_.endswith("wandb_logger"):
        extra |= {"name": f"{folder.parent.name}/{folder.name}", "group": folder.parent.name}
    return instantiate(node, **extra)
