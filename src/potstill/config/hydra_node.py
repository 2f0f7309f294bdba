"""Hydra's own node of a config, checked before Hydra acts on it."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any, cast

from hydra import compose, initialize
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf, open_dict
from omegaconf.errors import OmegaConfBaseException

from potstill.config.calls import check_calls
from potstill.config.compose import VERSION_BASE
from potstill.config.hydra_rules import rule_for
from potstill.config.ranges import shorten
from potstill.config.typed import Keys, Typed, leaves
from potstill.errors import ConfigError


def check_hydra(cfg: DictConfig, typed: Typed, is_sweep: bool = False) -> None:
    """Raise at the first setting under `hydra` that a file may not give.

    What the command line gives is taken as it is, and so is what Hydra and its installed plugins
    say of themselves. What is called is held to its kind wherever it comes from.

    Args:
        cfg: as composed, Hydra's own node with it.
        typed: what the command line gives.
        is_sweep: whether the jobs of a sweep will run, in the sweep's folder.

    Raises:
        ConfigError: with the full key.
    """
    raw = dict(leaves(OmegaConf.to_container(cfg.hydra)))
    node, run = _resolved(cfg, is_sweep)
    check_calls(node.get("callbacks"), ("hydra", "callbacks"))
    choices = cfg.hydra.runtime.choices
    for keys, value in leaves(node):
        is_call = keys[-1] == "_target_"
        if not is_call and typed.names(("hydra", *keys), raw.get(keys)):
            continue
        rule = rule_for(keys)
        if rule is not None and rule.holds(value, run):
            continue
        if keys not in raw or _installed(choices).get(keys, ...) != raw[keys]:
            raise _refusal(keys, value, rule.wanted if rule else "")
    _check_params(node.get("sweeper"), typed)


def _refusal(keys: Keys, value: Any, wanted: str) -> ConfigError:
    given = f"hydra.{'.'.join(keys)}={shorten(getattr(value, 'name', value))}"
    if keys[-1] == "_target_":
        group = f"hydra/{keys[0]}" if keys[0] in ("launcher", "sweeper") else "plugins"
        return ConfigError(f"{given}: not callable here. Fix: {group}=NAME, of what is installed")
    what = f"must be {wanted} in a file" if wanted else "a file may not give it"
    return ConfigError(f"{given}: {what}. Fix: hydra.{'.'.join(keys)}=... on the command line")


def _check_params(sweeper: Any, typed: Typed) -> None:
    """Raise where the values of a file's sweep would be settings of Hydra, or typed ones."""
    params = sweeper.get("params") if isinstance(sweeper, dict) else None
    for key in params if isinstance(params, dict) else ():
        keys = ("hydra", "sweeper", "params", str(key))
        if str(key).lstrip("+~").startswith("hydra") and keys not in typed.values:
            raise ConfigError(
                f"{'.'.join(keys)}: a file may not sweep over Hydra's own settings. "
                f"Fix: {key}=... on the command line"
            )


def _resolved(cfg: DictConfig, is_sweep: bool) -> tuple[dict[str, Any], Path]:
    """Return Hydra's node as a job will see it, and the job's folder."""
    copy = cfg.copy()
    job, runtime, place = copy.hydra.job, copy.hydra.runtime, "sweep" if is_sweep else "run"
    with open_dict(copy.hydra), _as_hydras(copy):
        del copy.hydra["help"], copy.hydra["hydra_help"]  # texts alone, slow to resolve
        if OmegaConf.is_missing(copy, "name"):  # validation says so, where it counts
            copy.name = "unnamed"
        job.num, job.id = job.get("num", 0), job.get("id", "0")
        try:
            run = Path(os.path.abspath(str(copy.hydra[place].dir)))
            runtime.output_dir = runtime.get("output_dir", str(run))
            node = OmegaConf.to_container(copy.hydra, resolve=True)
        except OmegaConfBaseException as error:
            reason = (error.msg or str(error)).splitlines()[0]
            raise ConfigError(
                f"{error.full_key or 'hydra'}: {reason}. Fix: a key that exists"
            ) from error
    return cast("dict[str, Any]", node), run


@contextmanager
def _as_hydras(cfg: DictConfig) -> Iterator[None]:
    """Let `${hydra:...}` mean this config, as it will once a job begins."""
    holder: Any = HydraConfig.instance()
    before = holder.cfg
    holder.cfg = cfg
    try:
        yield
    finally:
        holder.cfg = before


def _installed(choices: Any) -> dict[Keys, Any]:
    """Return the leaves of Hydra's node without any config folder, with the options chosen."""
    return _composed(tuple(sorted((str(group), str(name)) for group, name in choices.items())))


@cache
def _composed(choices: tuple[tuple[str, str], ...]) -> dict[Keys, Any]:
    with _own_hydra():
        lines, loader = dict[str, str](), GlobalHydra.instance().config_loader()
        for group, name in choices:  # hydra/sweeper/sampler comes after hydra/sweeper
            above = group.rpartition("/")[0]
            if (above == "hydra" or above in lines) and name in loader.get_group_options(group):
                lines[group] = f"{group}={name}"
        cfg = compose(None, list(lines.values()), return_hydra_config=True)
    return dict(leaves(OmegaConf.to_container(cfg.hydra)))


@contextmanager
def _own_hydra() -> Iterator[None]:
    """Be without config folders, whichever are in use around it."""
    before = GlobalHydra.instance().hydra
    GlobalHydra.instance().clear()
    try:
        with initialize(config_path=None, version_base=VERSION_BASE):
            yield
    finally:
        GlobalHydra.instance().hydra = before
