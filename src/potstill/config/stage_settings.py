"""Stages of a run in order, read from its config."""

import re
from dataclasses import dataclass, fields
from typing import Any

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from potstill.config.introspect import class_constant, find
from potstill.config.schema import StageSettings, unconverted
from potstill.errors import ConfigError, nearest

ROWS = ("teacher", "student", "baseline")  # of every run
# What a run writes beside its stages' folders.
FILES = (
    *("export", "config.yaml", "metrics.csv", "identity.json", "report.json", "report.html"),
    *("checkpoints", "train.log", "hydra"),
)
NAME = re.compile(r"[A-Za-z0-9][\w.-]*")  # a name is a folder
# Where transforms were set before they had a key of their own.
_FORMER = re.compile(r"(stages\.[^.=]+)\.(?:callbacks\.(prune|qat|sparsify|keep_zeros)|quantize)\b")


@dataclass(frozen=True)
class StageConfig:
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
    def transforms(self) -> dict[str, Any]:
        """The nodes of what is done to the network, by name, in order."""
        return _nodes(self.settings.transforms)

    @property
    def callbacks(self) -> dict[str, Any]:
        """The nodes of the stage's own Lightning callbacks, by name."""
        return _nodes(self.settings.callbacks)

    @property
    def distils(self) -> bool:
        """Whether the teacher and its heads take part."""
        return self.settings.distil and self.settings.epochs > 0

    @property
    def what(self) -> str:
        """What is done, in a word or two for the table."""
        return " + ".join([*self.transforms, *(["distil"] if self.distils else [])]) or "train"


def parse_stages(cfg: DictConfig) -> list[StageConfig]:
    """Return the stages after distillation, in order.

    Raises:
        ConfigError: if a stage has an unknown key, starts from nothing, or changes nothing.
    """
    check_callbacks(cfg.get("callbacks"), "callbacks", "stages.NAME.transforms")
    found: list[StageConfig] = []
    for name, node in (cfg.get("stages") or {}).items():
        if node is None:  # taken out of an experiment: stages.NAME=null
            continue
        _check_folder(str(name), [stage.name for stage in found])
        rows = ["student", *(stage.name for stage in found)]
        found.append(_parse(cfg, str(name), node, rows))
    return found


def check_callbacks(callbacks: Any, path: str, fix: str) -> None:
    """Raise where a transform stands among Lightning callbacks.

    Args:
        callbacks: nodes by name.
        path: the key they are under.
        fix: the key that transforms are under.

    Raises:
        ConfigError: naming the first.
    """
    for name, node in _nodes(callbacks).items():
        # Without a target it is half of what was a transform's settings.
        if _trains(node) is not None or not node.get("_target_"):
            raise ConfigError(f"{path}.{name}: is a transform. Fix: {fix}.{name}")


def respelled(text: str) -> str | None:
    """Return an override or a key as it is spelled today; None where nothing has changed.

    >>> respelled("stages.pruned.callbacks.prune.macs=0.3")
    'stages.pruned.transforms.prune.macs=0.3'
    """
    new = _FORMER.sub(lambda m: f"{m[1]}.transforms.{m[2] or 'quantize'}", text)
    return new if new != text else None


def _check_folder(name: str, others: list[str]) -> None:
    """Raise where two stages, or one and a step of another, would have one folder."""
    for other in others:
        if name.lower() == other.lower():  # the same on some file systems
            raise ConfigError(
                f"stages.{name}: its folder would be that of stages.{other}. Fix: another name"
            )
        for one, whole in ((name, other), (other, name)):
            if re.fullmatch(rf"{re.escape(whole)}-\d+", one, re.IGNORECASE):
                raise ConfigError(
                    f"stages.{one}: its folder would be that of a step of stages.{whole}. "
                    "Fix: another name"
                )


def _parse(cfg: DictConfig, name: str, node: Any, rows: list[str]) -> StageConfig:
    path = f"stages.{name}"
    if name.lower() in (*ROWS, *FILES) or not NAME.fullmatch(name):
        raise ConfigError(f"{path}: not a name for a stage. Fix: another, such as pruned")
    settings = _settings(node, path)
    start = settings.start or rows[-1]
    if start not in rows:
        near = nearest(start, rows)
        raise ConfigError(f"{path}.start={start}: no such row before it. Fix: {near}")
    check_callbacks(settings.callbacks, f"{path}.callbacks", f"{path}.transforms")
    _check_epochs(settings, path)
    return StageConfig(name, start, settings, _merged(cfg, settings, path))


def _settings(node: Any, path: str) -> StageSettings:
    names = [item.name for item in fields(StageSettings)]
    if not isinstance(node, DictConfig):
        raise ConfigError(f"{path}={node}: must be a mapping. Fix: an option of conf/stage")
    for key in map(str, node):
        if new := respelled(f"{path}.{key}"):
            raise ConfigError(f"{path}.{key}: is a transform. Fix: {new}")
        if key not in names:
            raise ConfigError(f"{path}.{key}: unknown key. Fix: {nearest(key, names)}")
    try:
        # Resolved first: ${module.optimizer.lr} means the run's, and will overwrite it here.
        plain = OmegaConf.to_container(node, resolve=True)
        merged = OmegaConf.merge(OmegaConf.structured(unconverted(StageSettings)), plain)
    except OmegaConfBaseException as error:
        reason = (error.msg or str(error)).splitlines()[0]
        raise ConfigError(f"{path}.{error.full_key}: {reason}. Fix: another value") from error
    return StageSettings(**{name: OmegaConf.select(merged, name) for name in names})


def _nodes(group: Any) -> dict[str, Any]:
    return {str(name): node for name, node in (group or {}).items() if node is not None}


def _trains(node: Any) -> bool | None:
    """Return whether a transform needs training, by its source; None where it is none."""
    found = find(str(node.get("_target_")))
    trains = class_constant(found, "trains") if found is not None else None
    return trains if isinstance(trains, bool) else None


def _check_epochs(settings: StageSettings, path: str) -> None:
    untrained = [k for k, node in _nodes(settings.transforms).items() if _trains(node) is False]
    others = len(_nodes(settings.transforms)) + len(_nodes(settings.callbacks)) - len(untrained)
    if untrained and (settings.epochs or others):
        raise ConfigError(
            f"{path}.transforms.{untrained[0]}: is done after training, in a stage of its own. "
            f"Fix: {path}.epochs=0, and its other transforms and callbacks in another stage"
        )
    if not untrained and settings.epochs < 1:
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
