"""Choice of a run's cache by `teacher.store=auto|off|read|refresh`, and its estimated cost."""

import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from potstill.config.choices import STORES
from potstill.errors import ConfigError, DataError, StorageError
from potstill.teacher.cache.manifest import CacheManifest, read_fields
from potstill.teacher.cache.segments import remove_leftovers
from potstill.teacher.cache.store import TeacherStore

SERVED = frozenset({"pooled"})


def uncacheable(layers: Iterable[str]) -> list[str]:
    """Return the teacher layers that no cache holds: all but `pooled`.

    Example:
        >>> uncacheable(["pooled", "layer3"])
        ['layer3']
    """
    return sorted(set(layers) - SERVED)


def open_store(
    mode: str, store_dir: str | Path, manifest: CacheManifest | None, reason: str = ""
) -> TeacherStore | None:
    """Return the store that fits this run, or `None` where there is none to use.

    Args:
        mode: "auto" reads the store that fits, or begins a new one beside the others; "read"
            never writes; "refresh" begins again; "off" is no store.
        store_dir: where stores are.
        manifest: what the run's outputs depend on; `None` where there can be no store.
        reason: why there can be none, such as "head at reads layer1"; empty where there can.

    Raises:
        ConfigError: if the mode is unknown, or wants a store that cannot be.
        DataError: with "read", if no store fits, naming the fields; if a file is damaged.
        StorageError: if a new store cannot be written.
    """
    check_mode(mode, "" if manifest else reason)
    if mode == "off" or manifest is None:
        return None
    folder = Path(store_dir) / manifest.folder_name
    if mode == "read":
        return TeacherStore(_existing(folder, manifest), manifest, writable=False)
    if not (folder / "manifest.json").is_file():
        manifest.write(folder)
    if not (writable := _is_writable(folder)) and mode == "refresh":
        raise StorageError(
            f"teacher.store=refresh: {folder} cannot be written. Fix: another teacher.store_dir"
        )
    if writable:
        remove_leftovers(folder)
    if mode == "refresh":
        for path in folder.glob("*.safetensors"):
            path.unlink(missing_ok=True)
    return TeacherStore(folder, manifest, writable)


def check_mode(mode: str, reason: str) -> None:
    """Raise where the mode is unknown, or wants a store and there can be none.

    Raises:
        ConfigError: with the reason.
    """
    if mode not in STORES:
        raise ConfigError(f"teacher.store={mode}: unknown. Fix: one of {', '.join(STORES)}")
    if mode in ("read", "refresh") and reason:
        raise ConfigError(f"teacher.store={mode}: {reason}. Fix: teacher.store=off")


def _existing(folder: Path, manifest: CacheManifest) -> Path:
    if (folder / "manifest.json").is_file():
        return folder
    if (nearest := manifest.nearest(folder.parent)) is None:
        raise DataError(
            f"teacher.store=read: {folder.parent} holds no teacher outputs. "
            "Fix: teacher.store=auto, or another teacher.store_dir"
        )
    raise DataError(
        f"teacher.store=read: none in {folder.parent} fits; {nearest.name} differs in "
        f"{'; '.join(manifest.differences(read_fields(nearest)))}. Fix: teacher.store=auto "
        "builds new ones, or go back to those settings"
    )


def _is_writable(folder: Path) -> bool:
    try:
        # os.access grants root on file systems that then refuse.
        with tempfile.TemporaryFile(dir=folder):
            return True
    except OSError:
        return False


def summarize(store: TeacherStore, seconds_per_image: float | None = None, **run: Any) -> str:
    """Return one line on what the store holds and what it will cost.

    Args:
        store: as opened.
        seconds_per_image: of a teacher's forward pass, to estimate the time.
        run: `epochs` and `views` (per image and epoch) of the run about to start, if known.
    """
    manifest, held = store.manifest, len(store)
    full = manifest.num_rows * store.encoding.row_bytes
    line = (
        f"{held:,} of {manifest.num_rows:,} teacher outputs cached in {store.folder} "
        f"({held * store.encoding.row_bytes / 1e6:,.1f} MB; {full / 1e6:,.1f} MB when full)"
    )
    draws = min(run.get("epochs", manifest.num_views) * run.get("views", 1), manifest.num_views)
    missing = min(draws * manifest.num_samples, manifest.num_rows - held)
    line += f"; at most {missing:,} teacher passes to come"
    if seconds_per_image is not None:
        line += f", {missing * seconds_per_image:,.0f} s"
    return line if store.writable else f"{line}; read only"
