"""Checkpoints on disk: whole or absent, each with its sha256 in a manifest beside it."""

import hashlib
import logging
import os
import re
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO

import torch

from potstill.errors import DataError, StorageError
from potstill.integrity.sealed import read_sealed, write_sealed

log = logging.getLogger("potstill")
BEST = "best.ckpt"
_STEP = re.compile(r"step-(\d+)\.ckpt")
_TEMPORARY = re.compile(r"\..+\.(ckpt|json)\.\d+")


class _Hashing:
    """A file that hashes and counts what is written to it, and keeps what went wrong."""

    def __init__(self, file: BinaryIO) -> None:
        self.file, self.sha256, self.size = file, hashlib.sha256(), 0
        self.error: OSError | None = None

    def write(self, data: bytes) -> int:
        self.sha256.update(data)
        self.size += len(data)
        try:
            return self.file.write(data)
        except OSError as error:  # torch turns it into a RuntimeError about positions
            self.error = error
            raise

    def flush(self) -> None:
        self.file.flush()


def name_of(step: int) -> str:
    """Return the file name of a checkpoint after `step` optimizer steps."""
    return f"step-{step:08d}.ckpt"


def write(checkpoint: Mapping[str, Any], path: Path) -> None:
    """Save `checkpoint` as `path` in one step, its manifest (same name, .json) last.

    Raises:
        StorageError: if it cannot be written; what was there before is still there.
    """
    with _beside(path) as temporary:
        path.parent.mkdir(parents=True, exist_ok=True)
        facts = _save(checkpoint, temporary)
        os.replace(temporary, path)
    _finish(path, facts)


@contextmanager
def _beside(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside `path` to write to and move from; it is removed."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        yield temporary
    except OSError as error:
        raise _cannot_write(path, error) from error
    finally:
        with suppress(OSError):
            temporary.unlink()


def _save(checkpoint: Mapping[str, Any], path: Path) -> dict[str, Any]:
    """Write the file through to the disk and return the content of its manifest."""
    with path.open("wb") as file:
        hashing = _Hashing(file)
        try:
            torch.save(checkpoint, hashing)  # type: ignore[arg-type]
        except RuntimeError:
            if hashing.error is None:
                raise
        if hashing.error is not None:
            raise hashing.error
        file.flush()
        os.fsync(file.fileno())
    return {
        "sha256": hashing.sha256.hexdigest(),
        "bytes": hashing.size,
        "step": checkpoint.get("global_step", 0),
        "epoch": checkpoint.get("epoch", 0),
    }


def _finish(path: Path, facts: Mapping[str, Any]) -> None:
    write_sealed(_manifest(path), facts, indent=1)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def _cannot_write(path: Path, error: OSError) -> StorageError:
    free = f", {shutil.disk_usage(path.parent).free / 1e6:.0f} MB free" * path.parent.is_dir()
    return StorageError(
        f"{path}: cannot be written ({error.strerror}{free}); the last good checkpoint stays. "
        "Fix: free space, then resume=true"
    )


def link(source: Path, path: Path) -> None:
    """Give a checkpoint a second name: no second copy, and no name ever means half of one."""
    # Where both are one file already (a resume), moving would do nothing and leave a name.
    with _beside(path) as temporary:
        if not (path.exists() and path.samefile(source)):
            os.link(source, temporary)
            os.replace(temporary, path)
    _finish(path, read_sealed(_manifest(source)))


def read(path: Path) -> dict[str, Any]:
    """Return a checkpoint, its tensors on the CPU.

    Raises:
        DataError: if it is missing, damaged, or holds more than tensors and plain values.
    """
    if problem := damage(path):
        raise DataError(f"{path}: {problem}. Fix: an older checkpoint")
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # whatever the reader raises
        raise DataError(f"{path}: not a checkpoint. Fix: one that this project wrote") from error


def damage(path: Path) -> str | None:
    """Return what is wrong with a checkpoint's bytes, or None."""
    if not path.is_file():
        return "no such checkpoint"
    if not _manifest(path).is_file():
        return f"has no manifest {_manifest(path).name}"
    try:
        facts = read_sealed(_manifest(path))
        size, sha256 = facts["bytes"], facts["sha256"]
    except (DataError, KeyError):
        return f"its manifest {_manifest(path).name} is damaged"
    if path.stat().st_size != size:
        return f"damaged, {path.stat().st_size} of {size} bytes"
    with path.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    return None if found == sha256 else "damaged, other bytes than were written"


def last_good(folder: Path) -> Path | None:
    """Return the newest whole checkpoint, None where there is none yet; warn of damaged ones.

    Raises:
        DataError: if there are checkpoints and all are damaged.
    """
    found = [path for path in folder.glob("*.ckpt") if _manifest(path).is_file()]
    for path in sorted(found, key=_step, reverse=True):
        problem = damage(path)
        if problem is None:
            return path
        log.warning("%s: %s; an older checkpoint is tried", path, problem)
    if found:
        raise DataError(
            f"{folder}: every checkpoint is damaged. Fix: start again in another folder"
        )
    return None


def prune(folder: Path, step: int, keep: int) -> None:
    """Remove all but the `keep` newest up to `step`, and those after it: of a path not taken."""
    numbered = [path for path in folder.glob("*.ckpt") if _STEP.fullmatch(path.name)]
    past = sorted((path for path in numbered if _step(path) <= step), key=_step)
    for path in {*numbered} - {*past[-keep:]}:
        _manifest(path).unlink(missing_ok=True)  # first: what has no manifest does not count
        path.unlink(missing_ok=True)


def clean(folder: Path) -> None:
    """Remove what a killed process left half-done; only while no other writes here."""
    for path in folder.glob("*") if folder.is_dir() else ():
        orphan = _STEP.fullmatch(path.name) and not _manifest(path).is_file()
        if orphan or _TEMPORARY.fullmatch(path.name):
            path.unlink(missing_ok=True)


def _manifest(path: Path) -> Path:
    return path.with_suffix(".json")


def _step(path: Path) -> int:
    if match := _STEP.fullmatch(path.name):
        return int(match[1])
    try:
        return int(read_sealed(_manifest(path))["step"])
    except (DataError, ValueError, KeyError, TypeError):
        return -1
