"""Validation of every fit of a run, so that `select=best` has something to select."""

from collections.abc import Iterator, Mapping
from typing import Any

from potstill.config.effects import saves
from potstill.errors import ConfigError


def check_selection(config: Mapping[str, Any]) -> None:
    """Raise where weights are selected by validation and some fit never validates.

    Args:
        config: plain and of the right types.

    Raises:
        ConfigError: naming the fit's number of epochs, and what keeps it from validating.
    """
    if config["select"] != "best":
        return
    _check_checkpoints(config["callbacks"] or {})
    for key, epochs, trainer in _fits(config):
        limit, every = trainer.get("limit_val_batches"), trainer.get("check_val_every_n_epoch", 1)
        if limit == 0:
            raise ConfigError(
                "select=best: trainer.limit_val_batches=0 leaves nothing to validate on, so that "
                "no epoch is best. Fix: select=last, or leave out trainer.limit_val_batches"
            )
        if every is not None and epochs < every:
            raise ConfigError(
                f"select=best: {key}={epochs} never reaches the first validation, "
                f"trainer.check_val_every_n_epoch={every}. "
                f"Fix: select=last, or trainer.check_val_every_n_epoch={max(epochs, 1)}"
            )


def _check_checkpoints(callbacks: Mapping[str, Any]) -> None:
    savers = {name: node for name, node in callbacks.items() if saves(node)}
    if not savers:
        raise ConfigError(
            "select=best: no callback keeps the best checkpoint. Fix: callbacks=default"
        )
    if all(node.get("monitor", "auto") is None for node in savers.values()):
        name = next(iter(savers))
        raise ConfigError(
            f"select=best: callbacks.{name}.monitor=null keeps no best checkpoint. "
            f"Fix: callbacks.{name}.monitor=auto"
        )


def _fits(config: Mapping[str, Any]) -> Iterator[tuple[str, int, Mapping[str, Any]]]:
    """Yield the key and the number of epochs of each fit, and its Trainer's settings."""
    trainer, module = config["trainer"], config["module"]
    yield "trainer.max_epochs", trainer["max_epochs"], trainer
    teacher = module.get("teacher") or {}
    if module.get("heads") and not teacher.get("weights") and config["teacher"]["epochs"]:
        yield "teacher.epochs", config["teacher"]["epochs"], trainer
    for name, stage in config["stages"].items():
        if stage is not None and stage["epochs"]:
            own = {**trainer, **(stage["trainer"] or {})}
            yield f"stages.{name}.epochs", stage["epochs"], own
