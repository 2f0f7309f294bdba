"""Lightning's DDP strategy for processes that something else has started."""

import logging
import warnings
from datetime import timedelta
from typing import Any

import lightning.pytorch as pl
from lightning.pytorch.strategies import DDPStrategy
from omegaconf import DictConfig, OmegaConf

from potstill.distributed import collectives, environment
from potstill.errors import ConfigError
from potstill.libraries.lightning import start_method


def strategy(cfg: DictConfig) -> dict[str, Any]:
    """Return the Trainer's argument `strategy` for several processes, where the config has none."""
    if environment.world() == 1 or cfg.trainer.get("strategy", "auto") != "auto":
        return {}
    # DDP waits for the gradient of every parameter, also of a head that sits out an epoch; to
    # look for those at every step costs time, and a warning where there is none.
    unused = any(_may_rest(head) for head in (cfg.module.get("heads") or {}).values())
    timeout = timedelta(seconds=cfg.process_timeout)
    return {"strategy": DDPStrategy(find_unused_parameters=unused, timeout=timeout)}


def _may_rest(head: DictConfig) -> bool:
    """Return whether a head's weight can be zero: it is, or it is a schedule."""
    weight = head.get("weight")
    return OmegaConf.is_config(weight) or weight == 0


def join(trainer: pl.Trainer) -> None:
    """Meet the other processes, before any of them does what concerns all.

    Args:
        trainer: made from the run's settings; it is not used for anything else.

    Raises:
        ConfigError: if they are not as many as the trainer wants, or cannot train so.
    """
    if trainer.world_size != environment.world():
        raise ConfigError(
            f"trainer.devices={trainer.num_devices}, trainer.num_nodes={trainer.num_nodes}: "
            f"started as {environment.world()} process(es). "
            f"Fix: the command line, or torchrun with {trainer.world_size}"
        )
    if trainer.world_size == 1:
        return
    if type(trainer.strategy) is not DDPStrategy or start_method(trainer.strategy) != "popen":
        raise ConfigError(
            "trainer.strategy: only DDP in processes already started gives every stage a whole "
            "network. Fix: trainer.strategy=ddp, or leave it out"
        )
    trainer.strategy.setup_environment()
    if not collectives.is_first():
        _leave_the_console()


def _leave_the_console() -> None:
    for handler in logging.getLogger().handlers:
        if type(handler) is logging.StreamHandler:  # not those for files
            handler.setLevel(logging.CRITICAL + 1)
    warnings.simplefilter("ignore")
