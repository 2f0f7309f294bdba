"""Plugins: other people's packages, whose names a config may call.

They come from the command line (`plugins=[mylab,path/to/other.py]`) and from the environment
variable POTSTILL_PLUGINS, which worker processes inherit; never from a file.
"""

import hashlib
import importlib
import importlib.util
import os
import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from potstill.config import introspect
from potstill.errors import ConfigError

VARIABLE = "POTSTILL_PLUGINS"
# Names that no plugin may have, installed or not.
_LIBRARIES = re.compile(
    "potstill|torch|torchvision|torchmetrics|torchao|torch_pruning|lightning|hydra|omegaconf|timm|"
    "numpy|scipy|sklearn|safetensors|onnx|onnxscript|onnxruntime|executorch|openvino|litert_torch|ai_edge_litert|tensorboard|wandb|"
    "jinja2|matplotlib|rich|yaml|PIL|litdata|boto3|filelock"
)


@dataclass(frozen=True)
class Plugin:
    """A package or a module of somebody else's.

    Attributes:
        name: under which it is imported.
        place: its folder, or its file.
    """

    name: str
    place: Path

    @property
    def files(self) -> list[Path]:
        """Its source files, sorted."""
        return sorted(self.place.rglob("*.py")) if self.place.is_dir() else [self.place]

    @property
    def sha256(self) -> str:
        """Of its source files' names and contents, as this process first saw them."""
        return _sha256(self)

    def module(self, file: Path) -> str:
        """Return the dotted name of one of its files."""
        parts = file.relative_to(self.place.parent).with_suffix("").parts
        return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def active() -> tuple[Plugin, ...]:
    """Return the plugins of this process, by the environment variable; nothing is imported.

    Raises:
        ConfigError: if one is not there, or its name is another package's.
    """
    return _located(tuple(filter(None, os.environ.get(VARIABLE, "").split(","))))


def use(names: Sequence[str]) -> tuple[Plugin, ...]:
    """Make plugins known to this process and to those it starts; nothing is imported.

    Args:
        names: packages on the path, folders or files.

    Raises:
        ConfigError: if one is not there, or its name is another package's.
    """
    known = {plugin.name: plugin for plugin in (*active(), *_located(tuple(names)))}
    os.environ[VARIABLE] = ",".join(str(plugin.place) for plugin in known.values())
    return active()


def owner(dotted: str) -> Plugin | None:
    """Return the plugin that a dotted name belongs to, if one does."""
    top = dotted.partition(".")[0]
    return next((plugin for plugin in active() if plugin.name == top), None)


def load() -> None:
    """Import every plugin.

    Raises:
        ConfigError: with the reason, if one does not import.
    """
    for plugin in active():
        import_from(plugin.name, f"plugins=[{plugin.name}]")


def import_from(module: str, given: str) -> object:
    """Return a module, imported; `given` is the setting that names it, for the message.

    Raises:
        ConfigError: with the reason, if it does not import.
    """
    # Whatever a plugin does wrong is the plugin's mistake, `exit()` as well.
    wrong = (Exception, SystemExit) if owner(module) else (ImportError,)
    try:
        return importlib.import_module(module)
    except wrong as error:
        reason = f"{type(error).__name__}: {' '.join(str(error).split())}"
        raise ConfigError(f"{given}: {module} does not import ({reason}). Fix: {module}") from error


def fingerprints() -> dict[str, str]:
    """Return the sha256 of each plugin's source, by `plugins.NAME`."""
    return {f"plugins.{plugin.name}": plugin.sha256 for plugin in active()}


@cache
def _sha256(plugin: Plugin) -> str:
    digest = hashlib.sha256()
    for file in plugin.files:
        content = hashlib.sha256(file.read_bytes()).hexdigest()
        digest.update(f"{file.relative_to(plugin.place.parent)} {content}\n".encode())
    return digest.hexdigest()


@cache
def _located(names: tuple[str, ...]) -> tuple[Plugin, ...]:
    return tuple(_locate(name) for name in names)


def _locate(given: str) -> Plugin:
    """Return the plugin that `given` names, after its folder was put at the end of the path."""
    path = Path(given).expanduser().resolve()
    name = path.stem if path.suffix == ".py" else path.name
    if not name.isidentifier():
        raise ConfigError(f"plugins=[{given}]: {name} is no name for a package. Fix: rename it")
    if name in sys.stdlib_module_names or _LIBRARIES.fullmatch(name):
        raise ConfigError(f"plugins=[{given}]: would shadow {name}. Fix: another name for it")
    place, is_path = _importable(name), os.sep in given or path.suffix == ".py"
    if place is None and path.exists():
        _extend_path(path.parent)
        place = _importable(name)
    if place is None:
        raise ConfigError(
            f"plugins=[{given}]: no such package or file. "
            "Fix: a package on the path, or the path of its folder or file"
        )
    if is_path and place != path:
        raise ConfigError(f"plugins=[{given}]: {name} is {place} already. Fix: another name for it")
    _extend_path(place.parent)  # what stands there as "" means another folder later
    return Plugin(name, place)


def _extend_path(folder: Path) -> None:
    if str(folder) not in sys.path:
        sys.path.append(str(folder))  # last, so that nothing beside a plugin shadows anything
        introspect.forget()
        importlib.invalidate_caches()


def _importable(name: str) -> Path | None:
    """Return the folder or file from which `import name` would take it."""
    spec = importlib.util.find_spec(name)
    if spec is None:
        return None
    folders = list(spec.submodule_search_locations or [])
    return Path(folders[0] if folders else str(spec.origin)).resolve()
