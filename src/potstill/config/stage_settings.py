"""The stages of a run, read from its config: what is done to which network, in which order."""

import re
from dataclasses import dataclass, fields
from typing import Any

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from potstill.config.schema import StageSettings
from potstill.errors import ConfigError, nearest

TAKEN = ("teacher", "student", "baseline")  # rows of every run
NAME = re.compile(r"[A-Za-z0-9][\w.-]*")  # a name is a folder


@dataclass(frozen=True)
class Link:
    """One stage.

    Attributes:
        name: its row and its folder.
        start: the row whose network it starts from.
        settings: see `StageSettings`.
        cfg: the run's config with what differs in this stage.
    """

    name: str
    start: str
    settings: StageSettings
    cfg: DictConfig

    @property
    def callbacks(self) -> dict[str, Any]:
        """The nodes of the stage's own callbacks, by name."""
        nodes = (self.settings.callbacks or {}).items()
        return {str(name): node for name, node in nodes if node is not None}

    @property
    def what(self) -> str:
        """What is done, in a word or two for the table."""
        names = ["quantize"] if self.settings.quantize is not None else [*self.callbacks]
        taught = self.settings.distil and self.settings.quantize is None
        return " + ".join([*names, *(["distil"] if taught else [])]) or "train"


def links(cfg: DictConfig) -> list[Link]:
    """Return the stages after distillation, in order.

    Raises:
        ConfigError: if a stage has an unknown key, starts from nothing, or changes nothing.
    """
    found: list[Link] = []
    for name, node in (cfg.get("stages") or {}).items():
        if node is None:  # taken out of an experiment: stages.NAME=null
            continue
        rows = ["student", *(link.name for link in found)]
        found.append(_link(cfg, str(name), node, rows))
    return found


def _link(cfg: DictConfig, name: str, node: Any, rows: list[str]) -> Link:
    path = f"stages.{name}"
    if name in TAKEN or not NAME.fullmatch(name):
        raise ConfigError(f"{path}: not a name for a stage. Fix: another, such as pruned")
    settings = _settings(node, path)
    start = settings.start or rows[-1]
    if start not in rows:
        near = nearest(start, rows)
        raise ConfigError(f"{path}.start={start}: no such row before it. Fix: {near}")
    _check(settings, path)
    return Link(name, start, settings, _merged(cfg, settings, path))


def _settings(node: Any, path: str) -> StageSettings:
    names = [item.name for item in fields(StageSettings)]
    if not isinstance(node, DictConfig):
        raise ConfigError(f"{path}={node}: must be a mapping. Fix: an option of conf/stage")
    for key in map(str, node):
        if key not in names:
            raise ConfigError(f"{path}.{key}: unknown key. Fix: {nearest(key, names)}")
    try:
        # Resolved first: ${module.optimizer.lr} means the run's, and will overwrite it here.
        plain = OmegaConf.to_container(node, resolve=True)
        merged = OmegaConf.merge(OmegaConf.structured(StageSettings), plain)
    except OmegaConfBaseException as error:
        reason = (error.msg or str(error)).splitlines()[0]
        raise ConfigError(f"{path}.{error.full_key}: {reason}. Fix: another value") from error
    return StageSettings(**{name: OmegaConf.select(merged, name) for name in names})


def _check(settings: StageSettings, path: str) -> None:
    changes = [node for node in (settings.callbacks or {}).values() if node is not None]
    if settings.quantize is not None and (changes or settings.epochs):
        raise ConfigError(
            f"{path}.quantize: is done after training, in a stage of its own. "
            f"Fix: {path}.epochs=0 {path}.callbacks=null"
        )
    if settings.quantize is None and settings.epochs < 1:
        raise ConfigError(f"{path}.epochs={settings.epochs}: too few. Fix: 1 or more")
    if settings.epochs_between < 1:
        raise ConfigError(
            f"{path}.epochs_between={settings.epochs_between}: too few. Fix: 1 or more"
        )


def _merged(cfg: DictConfig, settings: StageSettings, path: str) -> DictConfig:
    merged = cfg.copy()
    for key in ("module", "trainer"):
        if (node := getattr(settings, key)) is None:
            continue
        try:
            merged[key] = OmegaConf.merge(cfg[key], node)
        except OmegaConfBaseException as error:
            raise ConfigError(
                f"{path}.{key}: {str(error.msg).splitlines()[0]}. Fix: a key that {key} has"
            ) from error
    return merged
