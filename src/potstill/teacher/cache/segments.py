"""Segment files of a cache: immutable, named by their sha256, merged when there are many."""

import hashlib
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from potstill.atomic import write_atomically
from potstill.errors import DataError, StorageError
from potstill.teacher.cache.encoding import Columns, Encoding

MERGE_ABOVE = 16  # files in a folder
MERGED_BYTES = 2**30  # at most: a merge happens in memory
STALE_SECONDS = 3600.0  # a temporary file this old belongs to a writer that is gone
_TRIES = 100


@dataclass(frozen=True)
class Segment:
    """A file's rows (M,) int64 and columns, mapped into memory, not read."""

    path: Path
    rows: Tensor
    columns: Columns

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def num_bytes(self) -> int:
        """The bytes of rows and columns."""
        return sum(part.nbytes for part in (self.rows, *self.columns.values()))


def write_segment(folder: Path, rows: Tensor, columns: Columns) -> Path:
    """Write rows (M,) and their columns into a new file and return its path."""
    content = save({"rows": rows, **columns})
    return write_atomically(folder / f"{hashlib.sha256(content).hexdigest()}.safetensors", content)


def read_segment(path: Path, encoding: Encoding, num_rows: int) -> Segment:
    """Return a file's segment after a check of every byte against its name.

    Raises:
        DataError: if the file is damaged or holds something else.
        FileNotFoundError: if another process has merged it away.
    """
    with path.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if found != path.stem:
        raise _damaged(path, "sha256 differs")
    try:
        with safe_open(path, "pt") as file:
            parts = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, RuntimeError) as error:
        if not path.exists():  # torch raises RuntimeError where it vanished since it was hashed
            raise FileNotFoundError(path) from error
        raise _damaged(path, str(error)) from error
    rows = parts.pop("rows", torch.empty(0))
    shapes = {name: (len(rows), *shape) for name, shape in encoding.columns.items()}
    if {name: (*part.shape, part.dtype) for name, part in parts.items()} != shapes:
        raise _damaged(path, "other columns than in the manifest")
    if rows.dtype != torch.int64 or not bool(((rows >= 0) & (rows < num_rows)).all()):
        raise _damaged(path, "rows that the manifest does not have")
    return Segment(path, rows, parts)


def _damaged(path: Path, why: str) -> DataError:
    return DataError(
        f"{path}: damaged ({why}). Fix: delete the file; the teacher will run again for its rows"
    )


def read_segments(
    folder: Path, encoding: Encoding, num_rows: int, known: Mapping[Path, Segment]
) -> list[Segment]:
    """Return every segment of a folder; those in `known` are not read again.

    Raises:
        DataError: if a file is damaged.
        StorageError: if the folder changes faster than it can be read.
    """
    for _ in range(_TRIES):
        with suppress(FileNotFoundError):  # merged away since the listing: look again
            paths = sorted(folder.glob("*.safetensors"))
            return [known.get(path) or read_segment(path, encoding, num_rows) for path in paths]
    raise StorageError(f"{folder}: its files keep vanishing. Fix: another teacher.store_dir")


def merge(folder: Path, segments: list[Segment]) -> list[Path]:
    """Join small segments into one file where there are many; return the files removed.

    A file goes only once all it holds is in the new one, so that readers and other writers,
    merging or not, find every row at any time.
    """
    chosen = _mergeable(segments) if len(segments) > MERGE_ABOVE else []
    if len(chosen) < 2:
        return []
    rows = torch.cat([segment.rows for segment in chosen])
    first = torch.from_numpy(np.unique(rows.numpy(), return_index=True)[1])
    columns = {
        name: torch.cat([segment.columns[name] for segment in chosen])[first]
        for name in chosen[0].columns
    }
    merged = write_segment(folder, rows[first], columns)
    gone = [segment.path for segment in chosen if segment.path != merged]
    for path in gone:
        path.unlink(missing_ok=True)
    return gone


def _mergeable(segments: list[Segment]) -> list[Segment]:
    """Return the smallest segments, each no larger than those before it together.

    So a row is written again about log2(rows) times in all, not at every merge.
    """
    chosen: list[Segment] = []
    total = 0
    for segment in sorted(segments, key=lambda s: (s.num_bytes, s.path)):
        size = segment.num_bytes
        if total + size > MERGED_BYTES or (len(chosen) > 1 and size > total):
            break
        chosen.append(segment)
        total += size
    return chosen


def remove_leftovers(folder: Path) -> None:
    """Delete the temporary files of writers that were killed."""
    # As `write_atomically` names them; by age, since a process id is that of one host.
    for path in (*folder.glob(".*.safetensors.*"), *folder.glob(".manifest.json.*")):
        with suppress(OSError):
            if time.time() - path.stat().st_mtime > STALE_SECONDS:
                path.unlink()
