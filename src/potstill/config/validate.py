"""A composed config, checked before torch is imported; and the one way to instantiate from it."""

from collections.abc import Iterator
from dataclasses import fields
from functools import partial
from typing import Any

import hydra.utils
from hydra.errors import InstantiationException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import MissingMandatoryValue, OmegaConfBaseException

from potstill.config.allow_list import permit
from potstill.config.introspect import class_constant, signature
from potstill.config.schema import Config, TeacherSettings
from potstill.config.stage_settings import links
from potstill.config.value_rules import check_value, shorten
from potstill.errors import ConfigError, PotstillError, nearest

HYDRA_KEYS = {"_target_", "_partial_", "_recursive_", "_convert_", "_args_"}


def validate(cfg: DictConfig) -> None:
    """Raise at the first setting that is unknown, malformed or impossible.

    Raises:
        ConfigError: with the full key, the value, and what would do.
    """
    config = _plain(cfg)
    _check_keys(config, "", [item.name for item in fields(Config)])
    _check_keys(config["teacher"], "teacher", [item.name for item in fields(TeacherSettings)])
    for key in ("data", "module", "trainer"):
        if not isinstance(config[key], dict):
            raise ConfigError(f"{key}={config[key]}: must be a mapping. Fix: an option of {key}")
    for path, node in _nodes(config, ""):
        check_call(node, path)
    for path, node in _nodes(OmegaConf.to_container(_callbacks(cfg)), "hydra.callbacks"):
        check_call(node, path)
    for path, value in _leaves(config, ""):
        check_value(path, value)
    _check_temperature(config["temperature"])
    _check_weights(config)
    _check_effect(cfg)
    _check_stages(cfg)


def _check_stages(cfg: DictConfig) -> None:
    """Raise where a stage would train with settings that the run itself could not have."""
    for link in links(cfg):
        own = {"module": link.settings.module, "trainer": link.settings.trainer}
        for key in (key for key, node in own.items() if node is not None):
            config = OmegaConf.to_container(link.cfg[key], resolve=True)
            for path, node in _nodes(config, key):
                check_call(node, f"stages.{link.name}.{path}")
            for path, value in _leaves(config, key):
                check_value(path, value)


def check_call(node: dict[str, Any], path: str) -> None:
    """Raise unless a config may call `node["_target_"]` and it takes the node's keys.

    Raises:
        ConfigError: if not; `path` is the node's key.
    """
    if not isinstance(node["_target_"], str):
        raise ConfigError(f"{path}._target_={node['_target_']}: must be a dotted name. Fix: a.b.C")
    takes = signature(permit(node["_target_"], path))
    if takes is None or takes.is_open:
        return
    for key in node:
        if key not in HYDRA_KEYS and key not in takes.names:
            near = nearest(str(key), takes.names) or "no arguments"
            raise ConfigError(
                f"{_join(path, key)}={shorten(node[key])}: {node['_target_']} takes no {key!r}. "
                f"Fix: {near}"
            )


def instantiate(node: Any, **kwargs: Any) -> Any:
    """Return what `node` describes, called with `kwargs` as well; lists and mappings are plain.

    Raises:
        ConfigError: if a target is not on the allow-list or refuses its arguments.
    """
    plain: Any = OmegaConf.to_container(node, resolve=True) if OmegaConf.is_config(node) else node
    path = str(node._get_full_key(None)) if OmegaConf.is_config(node) else plain["_target_"]
    for where, inner in _nodes(plain, path):
        check_call(inner, where)
    try:
        if not kwargs:
            return hydra.utils.instantiate(node, _convert_="all")
        # Called afterwards, so that OmegaConf neither copies nor converts what is passed.
        made = hydra.utils.instantiate(node, _convert_="all", _partial_=True)
        return partial(made, **kwargs) if plain.get("_partial_") else made(**kwargs)
    except InstantiationException as error:
        _, found, key = str(error).rpartition("full_key: ")
        raised = _raised(error.__cause__ or error, key.strip() if found else path)
    except (ValueError, TypeError) as error:
        raised = _raised(error, path)
    raise raised


def _raised(cause: BaseException, path: str) -> BaseException:
    """Return what a constructor raised, as a ConfigError if it is about its values."""
    about_values = isinstance(cause, ValueError | TypeError | ImportError | InstantiationException)
    if isinstance(cause, PotstillError) or not about_values:
        return cause
    error = ConfigError(f"{path}: {cause}. Fix: what is under {path}")
    error.__cause__ = cause
    return error


def _callbacks(cfg: DictConfig) -> Any:
    """Return the callbacks of Hydra itself: it calls their targets before the run."""
    return OmegaConf.select(cfg, "hydra.callbacks") or OmegaConf.create({})


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
            raise ConfigError(f"{_join(path, key)}={shorten(node[key])}: unknown key. Fix: {near}")
    for key in declared:
        if key not in node:
            raise ConfigError(f"{_join(path, key)}: was removed. Fix: no ~{_join(path, key)}")


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


def _is_response(head: dict[str, Any], path: str) -> bool:
    if "_target_" not in head:
        name = path.rpartition(".")[2]
        raise ConfigError(f"{path}: has no _target_. Fix: head@module.heads=[..., {name}]")
    return class_constant(permit(head["_target_"], path), "kind") == "response"


def _nodes(value: Any, path: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield (path, node) of everything that has a `_target_`, inside lists too."""
    if isinstance(value, dict) and "_target_" in value:
        yield path, value
    for key, inner in _children(value):
        yield from _nodes(inner, _join(path, key))


def _leaves(value: Any, path: str) -> Iterator[tuple[str, Any]]:
    if not isinstance(value, dict | list):
        yield path, value
    for key, inner in _children(value):
        yield from _leaves(inner, _join(path, key))


def _children(value: Any) -> list[tuple[Any, Any]]:
    if isinstance(value, dict):
        return list(value.items())
    return list(enumerate(value)) if isinstance(value, list) else []


def _join(path: str, key: Any) -> str:
    return f"{path}.{key}" if path else str(key)
