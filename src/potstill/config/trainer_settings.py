"""Settings of Lightning's Trainer that its annotations do not tell apart."""

from collections.abc import Mapping
from typing import Any

from potstill.config.ranges import shorten
from potstill.errors import ConfigError

# Settings that would be ignored under trainer, and where to set them.
ELSEWHERE = {
    "callbacks": "callbacks=...",
    "logger": "logger=...",
    "default_root_dir": "hydra.run.dir=...",
    "use_distributed_sampler": "leave it out; the loaders share an epoch out themselves",
    "overfit_batches": "leave it out; every epoch has an order of its own",
}


def check_trainer(trainer: Mapping[str, Any], path: str) -> None:
    """Raise where the Trainer would ignore a setting, or do something else than it says.

    Args:
        trainer: its settings, of the types that it takes.
        path: the key they are under.

    Raises:
        ConfigError: with the full key.
    """
    for key, place in ELSEWHERE.items():
        if trainer.get(key) is not None and (key != "overfit_batches" or trainer[key]):
            raise ConfigError(f"{path}.{key}={shorten(trainer[key])}: set elsewhere. Fix: {place}")
    if "max_epochs" not in trainer:
        raise ConfigError(f"{path}.max_epochs: has no value. Fix: +{path}.max_epochs=10")
    if trainer.get("gradient_clip_algorithm") and not trainer.get("gradient_clip_val"):
        raise ConfigError(
            f"{path}.gradient_clip_algorithm={trainer['gradient_clip_algorithm']}: nothing is "
            f"clipped. Fix: {path}.gradient_clip_val=1.0"
        )
    if trainer.get("check_val_every_n_epoch", 1) is None:
        _check_interval(trainer.get("val_check_interval"), path)


def _check_interval(interval: Any, path: str) -> None:
    if isinstance(interval, float) or interval is None:
        raise ConfigError(
            f"{path}.check_val_every_n_epoch=null: validation goes by batches or by time, and "
            f"{path}.val_check_interval says neither. Fix: {path}.val_check_interval=100"
        )
