"""Composition of a command's configs as Hydra does it, before anything starts."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import yaml
from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import IntervalSweep, Override
from hydra.errors import OverrideParseException
from omegaconf import DictConfig, OmegaConf

from potstill.config.messages import explain
from potstill.config.ranges import shorten
from potstill.config.schema import register
from potstill.config.searchpath import check_searchpath
from potstill.errors import ConfigError
from potstill.libraries.hydra import search_beside

VERSION_BASE = "1.3"


@dataclass(frozen=True)
class Command:
    """What to compose: the main config, more config folders, and the overrides."""

    config_dir: Path
    config_name: str = "train"
    overrides: tuple[str, ...] = ()
    is_sweep: bool = False
    more_dirs: tuple[Path, ...] = ()

    def __post_init__(self) -> None:
        """Take `GROUP=null`, which a defaults list may say, for what Hydra has for it."""
        if any(line.endswith("=null") for line in self.overrides):
            left_out = {key: _left_out(key, value) for key, value in self._defaults.items()}
            left_out = {f"{key}=null": line for key, line in left_out.items()}
            overrides = tuple(left_out.get(line, line) for line in self.overrides)
            object.__setattr__(self, "overrides", overrides)

    @property
    def _defaults(self) -> dict[str, Any]:
        """The groups in the main config's own defaults list, and what is chosen of each."""
        try:
            text = (self.config_dir / f"{self.config_name}.yaml").read_text(encoding="utf-8")
            listed = yaml.safe_load(text)["defaults"]
        except (OSError, ValueError, KeyError, TypeError, yaml.YAMLError):
            return {}  # composing it will say what is wrong
        return {str(k): v for one in listed if isinstance(one, dict) for k, v in one.items()}

    @property
    def folders(self) -> tuple[Path, ...]:
        """All config folders, the main one first."""
        return (self.config_dir, *self.more_dirs)

    @property
    def flags(self) -> list[str]:
        """The flags of a command line that name the same configs."""
        flags = ["--config-path", str(self.config_dir), "--config-name", self.config_name]
        return [*flags, *(part for more in self.more_dirs for part in ("--config-dir", str(more)))]

    @property
    def plugins(self) -> tuple[str, ...]:
        """The packages that `plugins=[...]` names, as given.

        Raises:
            ConfigError: if that override is malformed, or a sweep over several values.
        """
        names = [name for line in self.overrides if _is_plugins(line) for name in _listed(line)]
        return tuple(names)

    @property
    def without_plugins(self) -> "Command":
        """The same command without `plugins=[...]`."""
        others = (line for line in self.overrides if not _is_plugins(line))
        return replace(self, overrides=tuple(others))


def configs(command: Command) -> Iterator[DictConfig]:
    """Yield the config of a run; of a sweep, one for each value of each swept key.

    Every value is composed once, with the first values of the other keys: the sum of the
    values, not their product. Each config holds Hydra's own node as well.

    Raises:
        ConfigError: if Hydra cannot compose one of them.
    """
    with _hydra(command):
        for overrides in _variants(command) if command.is_sweep else [list(command.overrides)]:
            yield _composed(command, overrides)


@contextmanager
def _hydra(command: Command) -> Iterator[None]:
    register()
    check_searchpath(command.folders, command.config_name)
    with initialize_config_dir(
        str(command.config_dir), version_base=VERSION_BASE, job_name=Path(command.config_name).name
    ):
        for folder in command.more_dirs:
            search_beside(folder)
        yield


def _composed(command: Command, overrides: list[str]) -> DictConfig:
    def attempt(lines: list[str]) -> DictConfig:
        return compose(command.config_name, lines, return_hydra_config=True)

    try:
        cfg = attempt(overrides)
    except Exception as error:
        raise explain(error, overrides, attempt, command.folders) from error
    _check_overrides(cfg, overrides)
    return cfg


def _check_overrides(cfg: DictConfig, given: list[str]) -> None:
    """Raise where a file has put overrides where Hydra keeps those of the command line."""
    lists = OmegaConf.to_container(cfg.hydra.overrides)
    kept = [str(line) for lines in lists.values() for line in lines]  # type: ignore[union-attr]
    if sorted(kept) != sorted(given):
        raise ConfigError(
            f"hydra.overrides={shorten(kept)}: a file may not add overrides. "
            "Fix: the same on the command line"
        )


def _variants(command: Command) -> Iterator[list[str]]:
    """Yield the overrides of each job to compose; a key's own values replace its sweep."""
    values = _values(command, list(command.overrides))
    params = OmegaConf.select(
        _composed(command, [lines[0] for lines in values]), "hydra.sweeper.params"
    )
    given = {lines[0].partition("=")[0] for lines in values}
    swept = [f"{key}={value}" for key, value in (params or {}).items() if key not in given]
    values += _values(command, swept)
    firsts = [lines[0] for lines in values]
    yield firsts
    for place, lines in enumerate(values):
        for line in lines[1:]:
            yield [*firsts[:place], line, *firsts[place + 1 :]]


def _values(command: Command, overrides: list[str]) -> list[list[str]]:
    """Return, for each override, the single-valued overrides it stands for."""
    loader = GlobalHydra.instance().config_loader()
    parser = OverridesParser.create(config_loader=loader)
    try:
        parsed = parser.parse_overrides(overrides)
    except Exception as error:
        raise explain(error, overrides, lambda _: OmegaConf.create(), command.folders) from error
    return [_single(line, override) for line, override in zip(overrides, parsed, strict=True)]


def _single(line: str, override: Override) -> list[str]:
    if not override.is_sweep_override():
        return [line]
    key = override.get_key_element()
    if override.is_discrete_sweep():
        return [f"{key}={value}" for value in override.sweep_string_iterator()]
    interval = override.value()
    assert isinstance(interval, IntervalSweep)
    return [f"{key}={end}" for end in (interval.start, interval.end)]


def _left_out(key: str, chosen: Any) -> str:
    """Return the override that leaves a group out: Hydra deletes one option, but no list of them.

    >>> _left_out("head@module.heads", ["kd"])
    'head@module.heads=[]'
    """
    return f"{key}=[]" if isinstance(chosen, list) else f"~{key}"


def _is_plugins(line: str) -> bool:
    return line.partition("=")[0].lstrip("+") == "plugins"


def _listed(line: str) -> list[str]:
    try:
        (override,) = OverridesParser.create().parse_overrides([line])
        value = None if override.is_sweep_override() else override.value()
    except OverrideParseException:
        value = None
    if not isinstance(value, list) or not all(isinstance(name, str) for name in value):
        raise ConfigError(f"{line}: must be a list, one for all jobs. Fix: plugins=[mylab]")
    return [str(name) for name in value]
