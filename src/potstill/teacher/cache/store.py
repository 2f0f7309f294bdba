"""Cache of teacher outputs by sample id and view, replayed in place of a forward pass.

The keys and the stored augmentation follow TinyViT (Wu et al. 2022, arXiv:2207.10666) and FKD
(Shen and Xing 2022, arXiv:2112.01528); a small finite set of views makes the table exact for any
seed.
"""

from contextlib import suppress
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from potstill.teacher.cache.encoding import CachedOutputs, Columns
from potstill.teacher.cache.manifest import CacheManifest
from potstill.teacher.cache.segments import (
    Segment,
    merge,
    read_segment,
    read_segments,
    write_segment,
)
from potstill.teacher.cache.write_buffer import WriteBuffer

FLUSH_BYTES = 32 * 2**20


class TeacherStore:
    """A table of outputs, one row for each (sample id, view), filled as rows are put.

    What is on disk is mapped into memory; what is new lies in memory until `flush`. Any number
    of processes may read and write one folder: each writes files of its own and sees those of
    the others after `reload`. One writer, or several that put the same batches, read back
    exactly what they put, also after a kill; where two put one row from different batches, both
    later read one of the two values, which differ by no more than a rounding.

    Args:
        folder: with a `manifest.json` that is this manifest; see `open_store`.
        manifest: what the outputs depend on, and their sizes.
        writable: whether new rows are added and written; else `put` only rounds.

    Raises:
        DataError: if a file is damaged or the folder holds other outputs.
    """

    def __init__(self, folder: Path, manifest: CacheManifest, writable: bool = True) -> None:
        manifest.check(folder)
        self.folder, self.manifest, self.writable = folder, manifest, writable
        self.encoding, self.num_rows = manifest.encoding, manifest.num_rows
        self._segments: list[Segment] = []
        self._buffer = WriteBuffer(self.encoding.empty(0))
        self.reload()

    def __len__(self) -> int:
        """Number of rows in the cache."""
        return int(self._slot.count_nonzero())

    def rows(self, sample_id: Tensor, view: Tensor) -> Tensor:
        """Return the rows (N,) int64 on the CPU of sample ids (N,) and views (N,).

        View by view: an epoch with a view of its own reads one stretch of the files.
        """
        sizes = self.manifest.num_samples, self.manifest.num_views
        ids, views = sample_id.cpu().long(), view.cpu().long()
        for keys, size in zip((ids, views), sizes, strict=True):
            array = keys.numpy()
            if len(array) and not 0 <= array.min() <= array.max() < size:
                raise ValueError(f"sample ids must be below {sizes[0]} and views below {sizes[1]}")
        return views * sizes[0] + ids

    def has(self, rows: Tensor) -> Tensor:
        """Return which of the rows (N,) int64 are in the cache, (N,) bool."""
        return self._slot[rows] > 0

    def stored_rows(self) -> Tensor:
        """Return all rows that are there, in order, (M,) int64."""
        return self._slot.nonzero().squeeze(1)

    def get(self, sample_id: Tensor, view: Tensor) -> tuple[CachedOutputs, Tensor]:
        """Return the outputs (N, ...) float32 on the CPU, and which are there (N,); others are 0.

        Args:
            sample_id: (N,) int64.
            view: (N,) int64.
        """
        rows = self.rows(sample_id, view)
        outputs = self.encoding.decode(self.columns(rows))
        present = self.has(rows)
        if not bool(present.all()):
            for part in outputs:
                if part is not None:
                    part[~present] = 0
        return outputs, present

    def columns(self, rows: Tensor) -> Columns:
        """Return the columns of rows (N,), zeros where there is none."""
        # NumPy: a batch's few numbers cost less there than torch's calls do.
        slot = self._slot.numpy()[rows.numpy()]
        sources = [*(segment.columns for segment in self._segments), self._buffer.columns]
        which = np.searchsorted(self._starts, slot)  # 0: absent; k: source k - 1
        found = self.encoding.empty(len(rows))
        for number in np.flatnonzero(np.bincount(which)):
            if number:
                mine = np.flatnonzero(which == number)
                local = slot[mine] - (self._starts[number - 1] + 1)
                for name, part in sources[number - 1].items():
                    found[name].numpy()[mine] = part.numpy()[local]
        return found

    def put(self, sample_id: Tensor, view: Tensor, outputs: CachedOutputs) -> CachedOutputs:
        """Add the outputs of rows not there yet; return all of them as the store rounds them.

        Values are used as rounded also when they were only just computed, so that a run that
        was killed and goes on reads the numbers it would have had.

        Raises:
            DataError: if an output is not finite in the store's precision.
            StorageError: if the pending rows were due and cannot be written.
        """
        rows = self.rows(sample_id, view)
        columns = self.encoding.encode(outputs.cpu())
        if self.writable:
            new = ~self.has(rows)
            places = self._buffer.add(rows[new], {n: part[new] for n, part in columns.items()})
            self._slot[rows[new]] = (places + self._next).to(self._slot.dtype)
            if self._buffer.count * self.encoding.row_bytes >= FLUSH_BYTES:
                self.flush()
        return self.encoding.decode(columns)

    def flush(self) -> None:
        """Write the pending rows into a file of their own.

        Raises:
            StorageError: if it cannot be written.
        """
        if self._buffer.count:
            rows, columns = self._buffer.take()
            segment = Segment(write_segment(self.folder, rows, columns), rows, columns)
            with suppress(FileNotFoundError):  # another process may have merged it already
                segment = read_segment(segment.path, self.encoding, self.num_rows)
            self._add(segment)
            self._buffer = WriteBuffer(self.encoding.empty(0))

    def reload(self) -> None:
        """Write what is pending, merge small files, and map what other processes have written.

        Raises:
            DataError: if a file is damaged.
        """
        self.flush()
        segments = self._read()
        if self.writable and merge(self.folder, segments):
            segments = self._read()
        kind = torch.int32 if self.num_rows < 2**30 else torch.int64
        # Zero is "absent"; pages of zeros that no row touches take no memory.
        self._slot = torch.zeros(self.num_rows, dtype=kind)
        self._segments, self._starts = [], np.zeros(1, np.int64)
        for segment in segments:
            self._slot[segment.rows] = torch.arange(len(segment), dtype=kind) + self._next
            self._add(segment)

    def _read(self) -> list[Segment]:
        known = {segment.path: segment for segment in self._segments}
        return read_segments(self.folder, self.encoding, self.num_rows, known)

    def _add(self, segment: Segment) -> None:
        self._segments.append(segment)
        self._starts = np.append(self._starts, self._starts[-1] + len(segment))

    @property
    def _next(self) -> int:
        """The slot of the first row that is in no file; the rows of segment k come before."""
        return int(self._starts[-1]) + 1
