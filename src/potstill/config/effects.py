"""Settings that could not take effect, or that contradict each other."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from potstill.config.introspect import class_constant, descends, find
from potstill.config.kinds import nodes
from potstill.config.ranges import shorten
from potstill.errors import ConfigError

_CALLBACKS = "potstill.training.callbacks."
EMA, INTERRUPT = (_CALLBACKS + "ema.EMA",), (_CALLBACKS + "interrupt.Interrupt",)
CHECKPOINT = (_CALLBACKS + "checkpoint.Checkpoint",)
CHECKPOINTS = ("lightning.pytorch.callbacks.checkpoint.Checkpoint",)
TEMPERATURES = ("temperature", "tau")


def check_effects(cfg: DictConfig, config: Mapping[str, Any]) -> None:
    """Raise where a setting has no effect in this config, or contradicts another.

    Args:
        cfg: as composed, with Hydra's own node: what was typed.
        config: the same, plain and of the right types.

    Raises:
        ConfigError: with the full key.
    """
    _check_weights(config)
    _check_temperatures(config)
    _check_readers(cfg)
    _check_callbacks(config)
    _check_warmup(config)
    _check_store(config["teacher"])
    if config["resume_allow"] and not config["resume"]:
        allowed = ",".join(map(str, config["resume_allow"]))
        raise ConfigError(
            f"resume_allow=[{shorten(allowed)}]: has no effect without resume=true. "
            "Fix: resume=true, or leave it out"
        )


def check_smoothing(cfg: DictConfig, place: str) -> None:
    """Raise where `module.label_smoothing` is given and the task has settings of its own."""
    smoothing = cfg.module.get("label_smoothing")
    if smoothing and "${module.label_smoothing}" not in OmegaConf.to_yaml(cfg.task):
        raise ConfigError(
            f"{place}module.label_smoothing={smoothing}: the task of this run does not read it. "
            "Fix: a setting of the task, or leave it out"
        )


def is_a(node: Any, bases: tuple[str, ...]) -> bool:
    """Return whether a node's class descends from one of these, by its source."""
    target = node.get("_target_") if isinstance(node, Mapping) else None
    found = find(target) if isinstance(target, str) else None
    return found is not None and descends(found, bases) is True


def saves(node: Any) -> bool:
    """Return whether a callback writes checkpoints of its own accord."""
    return is_a(node, CHECKPOINTS) and not is_a(node, INTERRUPT)


def _check_weights(config: Mapping[str, Any]) -> None:
    """Raise where the weights of the loss are given twice, or not at all."""
    module = config["module"]
    alpha = module.get("alpha", config["alpha"])
    heads = {name: head for name, head in (module.get("heads") or {}).items() if head is not None}
    responses = [name for name, head in heads.items() if _constant(head, "kind") == "response"]
    named = heads if alpha is None else responses
    own = {"module.task_weight": module.get("task_weight")}
    own |= {f"module.heads.{name}.weight": heads[name].get("weight") for name in named}
    given = {path: weight for path, weight in own.items() if weight is not None}
    if alpha is not None:
        for path, weight in given.items():
            raise ConfigError(
                f"{path}={shorten(weight)}: alpha={alpha} sets this weight already (giving both). "
                f"Fix: alpha=null, or {path}=null"
            )
        return
    bare = [name for name in responses if _constant(heads[name], "default_weight") == 1.0]
    if bare and not given:
        raise ConfigError(
            f"alpha=null: no weight is given, and {bare[0]} has none of its authors'. "
            f"Fix: module.heads.{bare[0]}.weight=0.9, or alpha=0.5"
        )
    if heads and len(given) == len(own) and not any(given.values()):
        raise ConfigError("module.task_weight=0: every weight is 0. Fix: one above 0")


def _constant(node: Mapping[str, Any], name: str) -> object:
    found = find(node["_target_"])
    return class_constant(found, name) if found is not None else None


def _check_temperatures(config: Mapping[str, Any]) -> None:
    """Raise where a schedule takes a temperature to zero."""
    for keys, node in nodes(config):
        if keys[-1:] and keys[-1] in TEMPERATURES:
            for name in ("start", "end", "value", "floor"):
                if node.get(name) == 0:
                    key = ".".join([*keys, name])
                    raise ConfigError(f"{key}=0: a temperature must stay above 0. Fix: {key}=1.0")


def _check_readers(cfg: DictConfig) -> None:
    """Raise where a command gives a setting that nothing in its config reads."""
    heads = OmegaConf.to_yaml(cfg.module.heads) if cfg.module.get("heads") else ""
    unread = {"temperature": "${temperature}" not in heads, "alpha": not heads}
    for line in OmegaConf.select(cfg, "hydra.overrides.task") or []:
        if unread.get(line.partition("=")[0], False):
            raise ConfigError(f"{line}: no head in this run reads it. Fix: leave it out")
    check_smoothing(cfg, "")


def _check_callbacks(config: Mapping[str, Any]) -> None:
    callbacks = (config["callbacks"] or {}).items()
    found = {name: node for name, node in callbacks if node is not None}
    if config["select"] == "ema" and not any(is_a(node, EMA) for node in found.values()):
        raise ConfigError("select=ema: nothing averages the student. Fix: callbacks=ema")
    if not any(is_a(node, CHECKPOINT) for node in found.values()):
        for name in (name for name, node in found.items() if is_a(node, INTERRUPT)):
            raise ConfigError(
                f"callbacks.{name}: nothing saves. Fix: callbacks.checkpoint, or "
                f"callbacks.{name}=null"
            )


def _check_store(teacher: Mapping[str, Any]) -> None:
    if teacher["store"] == "read" and not Path(teacher["store_dir"]).is_dir():
        raise ConfigError(
            f"teacher.store=read: {teacher['store_dir']} does not exist, so it holds no outputs. "
            "Fix: teacher.store=auto, or another teacher.store_dir"
        )


def _check_warmup(config: Mapping[str, Any]) -> None:
    warmup = (config["module"].get("scheduler") or {}).get("warmup_epochs")
    epochs = config["trainer"]["max_epochs"]
    if type(warmup) in (int, float) and warmup > epochs:
        raise ConfigError(
            f"module.scheduler.warmup_epochs={warmup}: longer than trainer.max_epochs={epochs}. "
            f"Fix: less than {epochs}"
        )
