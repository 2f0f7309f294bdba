"""Validation of a composed config before torch is imported."""

from collections.abc import Iterator, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

import yaml
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import MissingMandatoryValue, OmegaConfBaseException

from potstill.config.allow_list import permit
from potstill.config.calls import check_calls, join
from potstill.config.introspect import class_constant
from potstill.config.kinds import KINDS, children
from potstill.config.schema import Config, TeacherSettings
from potstill.config.stage_settings import parse_stages
from potstill.config.value_rules import check_value, shorten
from potstill.errors import ConfigError, nearest


def validate(cfg: DictConfig) -> None:
    """Raise at the first setting that is unknown, malformed or impossible.

    Raises:
        ConfigError: with the full key, the value, and what would do.
    """
    _check_mappings(cfg)
    config = _plain(cfg)
    _check_keys(config, "", [item.name for item in fields(Config)])
    _check_keys(config["teacher"], "teacher", [item.name for item in fields(TeacherSettings)])
    check_calls(config)
    for path, value in _leaves(config, ""):
        check_value(path, value)
    _check_temperature(config["temperature"])
    _check_weights(config)
    _check_effect(cfg)
    _check_smoothing(cfg, "")
    _check_stages(cfg)


def check_no_plugins(cfg: DictConfig, folders: Sequence[Path]) -> None:
    """Raise where a config file names plugins: the command line and the environment alone may.

    Args:
        cfg: as composed without those of the command line.
        folders: the config folders, to name the file.

    Raises:
        ConfigError: naming it.
    """
    if cfg.get("plugins"):
        files = (file for folder in folders for file in sorted(folder.rglob("*.yaml")))
        file = next((file for file in files if _says_plugins(file)), "a config file")
        raise ConfigError(
            f"{file}: plugins={list(cfg.plugins)} in a file, which may not import code. "
            "Fix: plugins=[...] on the command line"
        )


def _says_plugins(file: Path) -> bool:
    try:
        content = yaml.safe_load(file.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError):
        return False
    return any("plugins" in node for node in _mappings(content))


def _mappings(value: Any) -> Iterator[dict[Any, Any]]:
    if isinstance(value, dict):
        yield value
    for _, inner in children(value):
        yield from _mappings(inner)


def _check_mappings(cfg: DictConfig) -> None:
    for key in ("task", "data", "module", "trainer"):
        is_given = key in cfg and not OmegaConf.is_missing(cfg, key)
        if is_given and not isinstance(cfg[key], DictConfig):
            raise ConfigError(f"{key}={cfg[key]}: must be a mapping. Fix: an option of {key}")


def _check_stages(cfg: DictConfig) -> None:
    """Raise where a stage would train with settings that the run itself could not have."""
    for stage in parse_stages(cfg):
        _check_smoothing(stage.cfg, f"stages.{stage.name}.")
        own = {"module": stage.settings.module, "trainer": stage.settings.trainer}
        for key in (key for key, node in own.items() if node is not None):
            config = OmegaConf.to_container(stage.cfg[key], resolve=True)
            check_calls(config, ("stages", stage.name, key))
            for path, value in _leaves(config, key):
                check_value(path, value)


def _plain(cfg: DictConfig) -> dict[Any, Any]:
    """Return the config resolved, as the run will see it: without Hydra's own node."""
    config = OmegaConf.masked_copy(cfg, [str(key) for key in cfg if key != "hydra"])
    try:
        plain = OmegaConf.to_container(config, resolve=True, throw_on_missing=True)
    except MissingMandatoryValue as error:
        raise ConfigError(f"{error.full_key}: has no value. Fix: {error.full_key}=...") from error
    except OmegaConfBaseException as error:
        reason = (error.msg or str(error)).splitlines()[0]
        if "HydraConfig" in reason:
            reason = "${hydra:...} is known only once the run has begun"
        raise ConfigError(f"{error.full_key}: {reason}. Fix: a key that exists") from error
    assert isinstance(plain, dict)
    return plain


def _check_keys(node: dict[str, Any], path: str, declared: list[str]) -> None:
    for key in node:
        if key not in declared:
            near = nearest(str(key), declared)
            raise ConfigError(f"{join(path, key)}={shorten(node[key])}: unknown key. Fix: {near}")
    for key in declared:
        if key not in node:
            raise ConfigError(f"{join(path, key)}: was removed. Fix: no ~{join(path, key)}")


def _check_temperature(temperature: Any) -> None:
    is_schedule = isinstance(temperature, dict) and "_target_" in temperature
    if not is_schedule and isinstance(temperature, dict | list | None):
        raise ConfigError(
            f"temperature={shorten(temperature)}: must be a number above 0 or a schedule. "
            "Fix: temperature=4.0"
        )


def _check_weights(config: dict[str, Any]) -> None:
    """Raise where `alpha` and weights of one's own both set the share of the task loss."""
    module = config["module"]
    alpha = module.get("alpha", config["alpha"])
    if alpha is None:
        return
    own = {"module.task_weight": module.get("task_weight")}
    for name, head in (module.get("heads") or {}).items():
        if head is not None and _is_response(head, f"module.heads.{name}"):
            own[f"module.heads.{name}.weight"] = head.get("weight")
    for path, weight in own.items():
        if weight is not None:
            raise ConfigError(
                f"{path}={shorten(weight)}: alpha={alpha} sets this weight already (giving both). "
                f"Fix: alpha=null, or {path}=null"
            )


def _check_effect(cfg: DictConfig) -> None:
    """Raise where a command gives a setting that nothing in its config reads."""
    heads = OmegaConf.to_yaml(cfg.module.heads) if cfg.module.get("heads") else ""
    unread = {"temperature": "${temperature}" not in heads, "alpha": not heads}
    nodes = [node for node in (cfg.callbacks or {}).values() if node is not None]
    if cfg.select == "ema" and not any(str(node._target_).endswith(".EMA") for node in nodes):
        raise ConfigError("select=ema: nothing averages the student. Fix: callbacks=ema")
    for line in OmegaConf.select(cfg, "hydra.overrides.task") or []:
        if unread.get(line.partition("=")[0], False):
            raise ConfigError(f"{line}: no head in this run reads it. Fix: leave it out")


def _check_smoothing(cfg: DictConfig, place: str) -> None:
    """Raise where `module.label_smoothing` is given and the task has settings of its own."""
    smoothing = cfg.module.get("label_smoothing")
    if smoothing and "${module.label_smoothing}" not in OmegaConf.to_yaml(cfg.task):
        raise ConfigError(
            f"{place}module.label_smoothing={smoothing}: the task of this run does not read it. "
            "Fix: a setting of the task, or leave it out"
        )


def _is_response(head: dict[str, Any], path: str) -> bool:
    if "_target_" not in head:
        name = path.rpartition(".")[2]
        raise ConfigError(f"{path}: has no _target_. Fix: head@module.heads=[..., {name}]")
    return class_constant(permit(head["_target_"], path, KINDS["head"]), "kind") == "response"


def _leaves(value: Any, path: str) -> Iterator[tuple[str, Any]]:
    if not isinstance(value, dict | list):
        yield path, value
    for key, inner in children(value):
        yield from _leaves(inner, join(path, key))
