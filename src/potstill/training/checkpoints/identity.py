"""Identity of a run, its settings and data, compared on resumption; and its folder's lock."""

import fcntl
import logging
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from potstill.config.plugins import fingerprints
from potstill.errors import ConfigError, nearest
from potstill.integrity.sealed import read_sealed, write_sealed

log = logging.getLogger("potstill")
FILE = "identity.json"
_HALF_WRITTEN = re.compile(r"\..+\.\d+")  # as potstill.atomic names it
ENVIRONMENT = "environment"
Identity = dict[str, Any]

# These change neither what is learned nor what is measured.
FREE = (
    "callbacks.checkpoint.every_n_epochs",
    "callbacks.checkpoint.every_n_steps",
    "callbacks.checkpoint.keep",
    "callbacks.interrupt",
    "callbacks.progress",
    "budget",
    "data.cache",
    "data.cache_gb",
    "data.root",
    "data.num_workers",
    "data.prefetch_factor",
    "hydra",
    "logger",
    "loop",
    "name",
    "plugins",  # as plugins.NAME
    "resume",
    "resume_allow",
    "teacher.store_dir",
    "threads",  # as environment.threads
    "trainer.enable_model_summary",
    "trainer.enable_progress_bar",
    "trainer.log_every_n_steps",
)


def environment() -> Identity:
    """Return what bit-exactness depends on beside the settings: device, threads, versions."""
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu"
    facts = {
        "threads": torch.get_num_threads(),
        "cpu": torch.backends.cpu.get_cpu_capability(),
        "device": device,
        **{name: version(name) for name in ("potstill", "torch", "lightning")},
    }
    return {f"{ENVIRONMENT}.{key}": value for key, value in facts.items()}


def identity(settings: Mapping[str, Any], facts: Mapping[str, Any]) -> Identity:
    """Return settings (a resolved config) and facts flat, by dotted key, as plain values.

    Of plugins, the sha256 of their source: where they lie does not matter.
    """
    flat = _flatten(settings)
    flat = {key: value for key, value in flat.items() if counts(key)}
    return flat | fingerprints() | dict(facts)


def counts(key: str) -> bool:
    """Return whether a setting, by its dotted key, changes what is learned or measured."""
    return not _is_under(key, FREE)


def _flatten(node: Any, key: str = "") -> Identity:
    if isinstance(node, Mapping) and node:
        parts = (
            _flatten(value, f"{key}.{name}" if key else str(name)) for name, value in node.items()
        )
        return {name: value for part in parts for name, value in part.items()}
    return {key: node}


def _is_under(key: str, prefixes: Iterable[str]) -> bool:
    return any(key == prefix or key.startswith(f"{prefix}.") for prefix in prefixes)


def compare(old: Mapping[str, Any], new: Mapping[str, Any], allow: Sequence[str] = ()) -> list[str]:
    """Return the keys that differ and may, by `allow` (a key, or what stands before a dot).

    A different environment is only warned of. An entry of `allow` whose key has not changed is
    no error, because a job that is queued again and again repeats its command.

    Raises:
        ConfigError: naming each other change as `key: old -> new`, or an unknown entry of `allow`.
    """
    for entry in allow:
        if not any(_is_under(key, [entry]) for key in (*old, *new, *FREE)):
            raise ConfigError(
                f"resume_allow={entry}: no such setting. Fix: one of {nearest(entry, new)}"
            )
    changed = [key for key in {**old, **new} if old.get(key) != new.get(key)]
    _warn([key for key in changed if _is_under(key, [ENVIRONMENT])], old, new)
    changed = [key for key in changed if not _is_under(key, [ENVIRONMENT])]
    refused = [key for key in changed if not _is_under(key, allow)]
    if refused:
        raise ConfigError(
            f"resume=true: {', '.join(_arrows(refused, old, new))}. "
            f"Fix: the old values, or resume_allow=[{','.join(refused)}]"
        )
    return changed


def _arrows(keys: Iterable[str], old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    return [f"{key}: {old.get(key)} -> {new.get(key)}" for key in keys]


def _warn(keys: Sequence[str], old: Mapping[str, Any], new: Mapping[str, Any]) -> None:
    if keys:
        changes = [f"{key.partition('.')[2]} {old.get(key)} -> {new.get(key)}" for key in keys]
        log.warning("resumes, not bit-exact: %s", ", ".join(changes))


def save_identity(folder: Path, found: Identity) -> None:
    """Write a run's identity into its folder."""
    write_sealed(folder / FILE, found, indent=1, sort_keys=True)


def load_identity(folder: Path) -> Identity | None:
    """Return the identity in a run's folder, None where the run did not get so far."""
    path = folder / FILE
    if not path.is_file():
        return None
    found: Identity = read_sealed(path, fix="start again in another folder")
    return found


@contextmanager
def held(folder: Path) -> Iterator[None]:
    """Keep other processes out of a run's folder for as long as this one lives or needs it.

    What a killed process left half-written there is removed.

    Raises:
        ConfigError: if another process holds it.
    """
    # A lock of the process, not of the open file: data workers would inherit that one, and
    # outlive a killed run for seconds.
    with (folder / ".lock").open("a") as file:
        try:
            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise ConfigError(
                f"hydra.run.dir={folder}: another process is running in it. "
                "Fix: wait for it, or another folder"
            ) from error
        for path in folder.rglob(".*"):
            if _HALF_WRITTEN.fullmatch(path.name) and path.is_file():
                path.unlink()
        yield
