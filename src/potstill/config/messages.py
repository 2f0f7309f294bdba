"""Errors of Hydra and OmegaConf as one line: the setting, the fault, the fix."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import yaml
from hydra.errors import MissingConfigException, OverrideParseException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import (
    ConfigAttributeError,
    ConfigKeyError,
    OmegaConfBaseException,
    ValidationError,
)

from potstill.config.introspect import find
from potstill.config.kinds import kind_at
from potstill.config.options import groups, options
from potstill.config.quoting import suggested
from potstill.config.signatures import signature
from potstill.config.stage_settings import respelled
from potstill.errors import ConfigError, nearest
from potstill.libraries.hydra import full_key

Compose = Callable[[list[str]], DictConfig]
_FIXES = {
    "Ambiguous value": "-m to sweep over the values, key=[a,b] for a list",
    "--multirun": "-m to sweep over the values",
    "already at": "the same without the +",
    "Could not delete": "a key that --cfg job prints",
    "Multiple values": "override each group once",
}


def explain(
    error: Exception, overrides: Sequence[str], compose: Compose, folders: Sequence[Path]
) -> ConfigError:
    """Return `error`, which composing `overrides` raised, as a ConfigError.

    `compose` is called again with fewer overrides, to find the one to blame and the keys
    that were valid before it; `folders` are the config folders, for their options.
    """
    if isinstance(error, OverrideParseException):
        return _not_parsed(error.override, overrides)
    unnamed = next((line for line in overrides if line.startswith("=")), None)
    if unnamed is not None:
        return ConfigError(f"{unnamed}: has no key. Fix: key{unnamed}")
    blamed, error, before = _culprit(error, overrides, compose, folders)
    if isinstance(error, MissingConfigException):
        return _missing_option(error, blamed, folders)
    cause = _omegaconf_error(error)
    key = blamed if respelled(blamed) else str(getattr(cause, "full_key", None) or "")
    if new := respelled(key):
        return ConfigError(f"{key}: transforms have a key of their own. Fix: {new}")
    if isinstance(cause, ConfigAttributeError | ConfigKeyError):
        return _unknown_key(cause, blamed, before, folders)
    if isinstance(cause, ValidationError):
        return _wrong_type(cause, blamed, before)
    if isinstance(error, yaml.YAMLError):
        return ConfigError(f"{' '.join(str(error).split())}. Fix: that file's YAML")
    return _other(cause or error, error, blamed)


def _not_parsed(line: str, overrides: Sequence[str]) -> ConfigError:
    """Return what to type in place of an override that Hydra cannot read."""
    before = list(overrides[: overrides.index(line)]) if line in overrides else []
    if "=" not in line and before and "=" in before[-1]:  # the rest of a text with a space
        line = f"{before[-1]} {line}"
    fix = suggested(line) or "'key=\"a, b\"' for odd text"
    if line.partition("=")[2][:1] in ("[", "{"):
        fix = f"close what it opens, or {fix} for a text"
    return ConfigError(f"{line}: is not key=value. Fix: {fix}")


def _omegaconf_error(error: BaseException | None) -> BaseException | None:
    while error is not None and not isinstance(error, OmegaConfBaseException):
        error = error.__cause__ or error.__context__
    return error


def _culprit(
    error: Exception, overrides: Sequence[str], compose: Compose, folders: Sequence[Path]
) -> tuple[str, Exception, DictConfig | None]:
    """Return the first override that fails, how, and the config composed up to it."""
    names = groups(folders)

    def is_value(line: str) -> bool:
        key = line.partition("=")[0].lstrip("+~")
        return not ("@" in key or "/" in key or key in names)

    before, given = None, sorted(overrides, key=is_value)  # groups first: they bring the keys
    for count in range(len(given)):
        try:
            before = compose(given[:count])
        except Exception as first:
            return given[count - 1] if count else "", first, before
    return given[-1] if given else "", error, before


def _missing_option(
    error: MissingConfigException, blamed: str, folders: Sequence[Path]
) -> ConfigError:
    group, _, name = (error.missing_cfg_file or "").rpartition("/")
    known = list(error.options or options(folders, group))
    what = f"{group or 'config'} has no option {name!r}"
    return ConfigError(f"{blamed or f'{group}={name}'}: {what}. Fix: {nearest(name, known)}")


def _unknown_key(
    cause: OmegaConfBaseException, blamed: str, before: DictConfig | None, folders: Sequence[Path]
) -> ConfigError:
    full_key = cause.full_key or blamed.partition("=")[0]
    parent, _, name = full_key.rpartition(".")
    node = before if before is None or not parent else OmegaConf.select(before, parent)
    known = [str(key) for key in node] if isinstance(node, DictConfig) else []
    if not parent:
        known = [key for key in known if key != "hydra"] + groups(folders) + _packaged(before)
    accepted = _accepted(node)
    if name in accepted and blamed:
        return ConfigError(f"{blamed}: is not in the config yet. Fix: +{blamed}")
    same_group = [key for key in known if key.startswith(f"{name}@")]
    fix = ", ".join(same_group) or nearest(name, {*known, *accepted} - {"_target_"})
    where = f" in {parent}" if parent else ""
    # What a file says is not in the option that chose it.
    by = f" ({blamed})" if blamed and name not in blamed else ""
    given = full_key if by else blamed or full_key
    return ConfigError(f"{given}: unknown key {name!r}{where}{by}. Fix: {fix}")


def _packaged(before: DictConfig | None) -> list[str]:
    """Return the groups as they are overridden, package and all: model@module.student."""
    choices = OmegaConf.select(before, "hydra.runtime.choices") if before is not None else {}
    return [str(key) for key in choices if not str(key).startswith("hydra/")]


def _accepted(node: Any) -> tuple[str, ...]:
    """Return the arguments that the target of `node` takes, whether the config has them or not."""
    target = node.get("_target_") if isinstance(node, DictConfig) else None
    found = find(target) if isinstance(target, str) else None
    takes = signature(found) if found is not None else None
    kind = kind_at(full_key(node).split(".")) if found is not None else None
    return (*(takes.names if takes else ()), *(kind.then if kind else ()))


def _wrong_type(cause: ValidationError, blamed: str, before: DictConfig | None) -> ConfigError:
    key = cause.full_key or blamed.partition("=")[0]
    usual = OmegaConf.select(before, key) if before is not None else None
    reason = str(cause).splitlines()[0]
    fix = f"{key}={usual}" if usual is not None and not OmegaConf.is_config(usual) else "its type"
    return ConfigError(f"{blamed or key}: {reason}. Fix: {fix}")


def _other(cause: BaseException, error: Exception, blamed: str) -> ConfigError:
    lines = str(cause).strip().splitlines() or [type(cause).__name__]
    fix = next((text for sign, text in _FIXES.items() if sign in str(cause)), "see --help")
    if "Ambiguous value" in str(cause) and (text := suggested(blamed)):
        fix = f"{fix}, or {text} for one text"
    if len(lines) > 1 and lines[1].startswith("Did you mean to override"):
        fix = lines[1].removeprefix("Did you mean to override ").rstrip("?")
    return ConfigError(f"{blamed or 'config'}: {lines[0].rstrip('.')}. Fix: {fix}")
