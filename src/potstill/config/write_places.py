"""Folders that a run writes to: its own, and those that the command line names."""

import os
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from potstill.config.hydra_rules import OUTPUTS, is_below
from potstill.config.introspect import class_constant, find
from potstill.config.kinds import Node, nodes
from potstill.config.ranges import shorten
from potstill.config.typed import Keys, Typed, leaves
from potstill.errors import ConfigError

# Beside the run's own folder, under the folder a command is called in.
SHARED = (OUTPUTS / "mlflow.db", OUTPUTS / "teachers", Path("data"))
# Where classes of libraries write, by the arguments' names; a run's loggers get its folder.
_FOLDER = re.compile(r"(dir|dirpath|directory|path|folder|root|location|uri|cache)$")
_WRITERS = ("callbacks", "logger", "export", "transforms", "trainer")
_ADDRESS = re.compile(r"(?P<scheme>[\w.+-]+):(?://)?(?P<path>.*)")


def check_name(cfg: DictConfig) -> None:
    """Raise if the run's name, which is part of its folder's, leads elsewhere.

    Raises:
        ConfigError: whoever named it.
    """
    name = OmegaConf.select(cfg, "name", throw_on_missing=False)
    parts = re.split(r"[/\\]", str(name))
    if ".." in parts or str(name).startswith(("/", "~")) or "\0" in str(name):
        raise ConfigError(
            f"name={shorten(name)}: is part of a folder's name. Fix: name={parts[-1]}"
        )


def check_places(cfg: DictConfig, typed: Typed, is_sweep: bool = False) -> None:
    """Raise where a file has a run write elsewhere than in its folder or what it shares.

    Args:
        cfg: a valid config, Hydra's own node with it.
        typed: what the command line gives: it may name any place.
        is_sweep: whether the folder is a sweep's.

    Raises:
        ConfigError: with the full key.
    """
    job = OmegaConf.masked_copy(cfg, [str(key) for key in cfg if key != "hydra"])
    raw = dict(leaves(OmegaConf.to_container(job)))
    config = OmegaConf.to_container(job, resolve=True)
    run = cfg.hydra.sweep.dir if is_sweep else cfg.hydra.run.dir
    places = [Path(run), *SHARED, *(Path(text) for text in typed.texts if "/" in text)]
    for keys, value in _written(config):
        if isinstance(value, str):
            _check_save_dir(keys, value)
            if not typed.names(keys, raw.get(keys)):
                _check(keys, value, places)


def _written(config: Any) -> Iterator[tuple[Keys, Any]]:
    """Yield (keys, value) of what may be a path that is written."""
    for keys, value in leaves(config):
        is_place = keys == ("teacher", "store_dir") or keys[-1:] == ("cache_dir",)
        if is_place or any(key in _WRITERS for key in keys[:3:2]):
            yield keys, value
    for keys, node in nodes(config):
        if key := _download(node, "downloads_to"):
            yield from leaves(node.get("_args_", []), (*keys, "_args_"))
            if key in node and not _is_there(node[key], _download(node, "downloaded")):
                yield (*keys, key), node[key]


def _download(node: Node, constant: str) -> str:
    """Return what a class says of its downloads: the argument that is their folder, or a file."""
    found = find(str(node["_target_"]))
    value = class_constant(found, constant) if found is not None else None
    return value if isinstance(value, str) else ""


def _is_there(folder: Any, file: str) -> bool:
    return bool(file) and Path(str(folder), file).is_file()


def _check_save_dir(keys: Keys, value: str) -> None:
    """Raise where a logger is given a folder, in place of which it would get the run's."""
    if keys[0] == "logger" and keys[2:] == ("save_dir",):
        raise ConfigError(
            f"{'.'.join(keys)}={shorten(value)}: loggers write to the run's folder. "
            "Fix: hydra.run.dir=FOLDER"
        )


def _check(keys: Keys, value: str, places: Sequence[Path]) -> None:
    is_folder = bool(_FOLDER.search(keys[-1])) and keys[-1] != "sub_dir"
    path = _path(value, is_folder or "_args_" in keys)  # a folder may be among what has no name
    if path is None or any(is_below(path, place) for place in places):
        return
    if keys == ("teacher", "store_dir") and is_below(path, OUTPUTS):
        return
    key = ".".join(keys)
    raise ConfigError(
        f"{key}={shorten(value)}: a file may not have a run write outside its folder. "
        f"Fix: {key}=... on the command line, or leave it out"
    )


def _path(text: str, is_folder: bool) -> str | None:
    """Return the path that a text is; None where it is none, or a name in the run's folder."""
    address = _ADDRESS.fullmatch(text) if "://" in text or text.startswith("file:") else None
    if address is not None:
        if address["scheme"] in ("http", "https"):
            return None
        # sqlite:///outputs/x is relative, with a fourth slash it is not
        return (
            address["path"].removeprefix("/") if address["scheme"] == "sqlite" else address["path"]
        )
    parts = re.split(r"[/\\]", text)
    if is_folder or ".." in parts or os.path.isabs(text) or text.startswith("~"):
        return os.path.expanduser(text)
    return None
