"""Validation of a composed config before torch is imported."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

import yaml
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import MissingMandatoryValue, OmegaConfBaseException

from potstill.config.arguments import check_arguments
from potstill.config.calls import check_calls, join
from potstill.config.effects import check_effects, check_smoothing
from potstill.config.introspect import find
from potstill.config.kinds import children
from potstill.config.ranges import as_typed, shorten
from potstill.config.schema import Config, TeacherSettings
from potstill.config.selection import check_selection
from potstill.config.signatures import signature
from potstill.config.stage_settings import StageConfig, parse_stages
from potstill.config.structure import check_needs, check_structure
from potstill.config.trainer_settings import check_trainer
from potstill.errors import ConfigError, nearest

_SCHEMAS = {
    "": "potstill.config.schema.Config",
    "teacher": "potstill.config.schema.TeacherSettings",
    "budget": "potstill.report.budget.Budget",
    "stages": "potstill.config.schema.StageSettings",
}


def validate(cfg: DictConfig) -> None:
    """Raise at the first setting that is unknown, malformed or impossible.

    Raises:
        ConfigError: with the full key, the value, and what would do.
    """
    _check_mappings(cfg)
    config = _plain(cfg)
    _check_keys(config, "", [item.name for item in fields(Config)])
    _check_keys(config["teacher"], "teacher", [item.name for item in fields(TeacherSettings)])
    _check_values(config)
    _check_temperature(config["temperature"])
    check_structure(config)
    # First what others take settings from, so that the line names what was typed.
    first = {key: config[key] for key in ("temperature", "data", "module")}
    check_calls({**first, **config})
    check_needs(config)
    check_trainer(config["trainer"], "trainer")
    check_effects(cfg, config)
    _check_stages(cfg)
    check_selection(config)


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
        check_smoothing(stage.cfg, f"stages.{stage.name}.")
        own = {"module": stage.settings.module, "trainer": stage.settings.trainer}
        for key in (key for key, node in own.items() if node is not None):
            config = OmegaConf.to_container(stage.cfg[key], resolve=True)
            check_calls(config, ("stages", stage.name, key))
            _check_finite(config, f"stages.{stage.name}.{key}")
        if stage.settings.trainer is not None:
            _check_stage_trainer(stage)


def _check_stage_trainer(stage: StageConfig) -> None:
    path = f"stages.{stage.name}"
    if (epochs := stage.settings.trainer.get("max_epochs")) is not None:
        raise ConfigError(
            f"{path}.trainer.max_epochs={epochs}: set elsewhere. Fix: {path}.epochs={epochs}"
        )
    trainer: Any = OmegaConf.to_container(stage.cfg.trainer, resolve=True)
    check_trainer(trainer, f"{path}.trainer")


def _check_values(config: dict[str, Any]) -> None:
    """Raise at the first setting of the run itself that is of a wrong type or out of range."""
    _check_finite(config, "")
    records = {"": config, "teacher": config["teacher"], "budget": _budget(config["budget"])}
    records |= {f"stages.{name}": stage for name, stage in config["stages"].items() if stage}
    for path, values in records.items():
        schema = find(_SCHEMAS[path.partition(".")[0]])
        assert schema is not None
        check_arguments(values, path, schema)


def _budget(budget: Any) -> dict[str, Any]:
    schema = find(_SCHEMAS["budget"])
    takes = signature(schema) if schema is not None else None
    names = takes.names if takes is not None else ()
    if budget is not None and not isinstance(budget, dict):
        raise ConfigError(f"budget={shorten(budget)}: must be a mapping. Fix: budget.{names[0]}=1")
    limits: dict[str, Any] = budget or {}
    for key, value in limits.items():
        if key not in names:
            near = nearest(str(key), names)
            raise ConfigError(f"budget.{key}={shorten(value)}: unknown key. Fix: {near}")
    return limits


def _check_finite(config: Any, path: str) -> None:
    for key, value in _leaves(config, path):
        if isinstance(value, float) and not math.isfinite(value):
            raise ConfigError(f"{key}={value}: must be finite. Fix: an ordinary number")


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
    if not is_schedule and (type(temperature) not in (int, float) or temperature <= 0):
        raise ConfigError(
            f"temperature={as_typed(temperature)}: must be a number above 0 or a schedule. "
            "Fix: temperature=4.0"
        )


def _leaves(value: Any, path: str) -> Iterator[tuple[str, Any]]:
    if not isinstance(value, dict | list):
        yield path, value
    for key, inner in children(value):
        yield from _leaves(inner, join(path, key))
