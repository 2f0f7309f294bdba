"""Atomic file writes: a file is written beside its place, then moved there."""

import os
from contextlib import suppress
from pathlib import Path

from potstill.errors import StorageError


def write_atomically(path: Path, content: bytes | str) -> Path:
    """Replace `path` by `content` in one step, so that a reader never sees half a file.

    Raises StorageError where the folder or the file cannot be written.
    """
    data = content.encode() if isinstance(content, str) else content
    # In the same folder: a move from another file system is not one step.
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _write_through(temporary, data)
        os.replace(temporary, path)
    except OSError as error:
        with suppress(OSError):
            temporary.unlink()
        raise StorageError(
            f"{path}: cannot be written ({error.strerror}). Fix: free space or choose a "
            "writable folder."
        ) from error
    return path


def _write_through(path: Path, data: bytes) -> None:
    with path.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
