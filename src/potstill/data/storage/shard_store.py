"""Local folders and object stores of shards, the latter through a caching folder."""

import hashlib
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from filelock import FileLock

from potstill.data.storage.shard_index import MANIFEST, Chunk
from potstill.errors import ConfigError, DataError

SCHEMES = ("s3://", "gs://")  # of litdata's, those whose credentials come from the environment
_ATTEMPTS = 20


@dataclass(frozen=True)
class ShardStore:
    """Shards in a local folder, of which byte ranges are read."""

    root: Path

    def fetch(self, name: str) -> Path:
        """Return the path of an index file."""
        return self.root / name

    def check(self, chunk: Chunk) -> None:
        """Raise where a chunk is not there in full."""
        path = self.root / chunk.name
        found = path.stat().st_size if path.is_file() else 0
        if found != chunk.size:
            raise _not_whole(str(self.root), chunk, found)

    def read(self, chunk: Chunk, begin: int, size: int, whole: bool) -> bytes:
        """Return `size` bytes of a chunk from `begin`; `whole`: cache all of it."""
        # Opened each time: there may be more chunks than files that a process may hold open.
        with (self.root / chunk.name).open("rb", buffering=0) as file:
            file.seek(begin)
            return file.read(size)


@dataclass(frozen=True)
class CachedShardStore(ShardStore):
    """Shards at an address, downloaded by litdata when they are first needed.

    Args:
        root: the folder that keeps what was downloaded, shared by all processes of a machine.
        address: of the shards.
        limit: bytes of chunks that are cached, the last used ones; all of them where None.
    """

    address: str
    limit: int | None = None

    def fetch(self, name: str) -> Path:
        """Return the path of an index file; download it where it is missing."""
        path = self.root / name
        with self._lock(path):
            if not path.exists():
                _download(self.address, name, path)
        return path

    def check(self, chunk: Chunk) -> None:
        """Chunks are checked when they are downloaded."""

    def read(self, chunk: Chunk, begin: int, size: int, whole: bool) -> bytes:
        """Return `size` bytes of a chunk from `begin`; download it if `whole`, else only those."""
        path = self.root / chunk.name
        for _ in range(_ATTEMPTS):  # another process may make room for a chunk of its own
            with suppress(FileNotFoundError):
                content = super().read(chunk, begin, size, whole)
                os.utime(path)
                return content
            if not whole:
                return self._read_range(chunk, begin, size)
            self._keep(chunk)
        raise DataError(
            f"data.cache={self.root}: {chunk.name} is removed as soon as it is there. "
            "Fix: a larger data.cache_gb"
        )

    def _read_range(self, chunk: Chunk, begin: int, size: int) -> bytes:
        with _reported(self.address, chunk.name):
            litdata, source = _downloader(self.address, os.getpid()), f"{self.address}/{chunk.name}"
            return litdata.download_bytes(source, begin, size, str(self.root / chunk.name))

    def _keep(self, chunk: Chunk) -> None:
        path = self.root / chunk.name
        with self._lock(path):
            if path.exists():
                return
            _download(self.address, chunk.name, path)
            if (found := path.stat().st_size) != chunk.size:
                path.unlink()
                raise _not_whole(self.address, chunk, found)
        self._make_room()

    def _make_room(self) -> None:
        """Remove the chunks used longest ago until the others fit."""
        if self.limit is None:
            return
        found = []
        for path in self.root.rglob("*.bin"):
            with suppress(FileNotFoundError):
                found.append((path.stat().st_mtime_ns, path.stat().st_size, path))
        used = sum(size for _, size, _ in found)
        for _, size, path in sorted(found)[:-1]:
            if used <= self.limit:
                return
            path.unlink(missing_ok=True)
            used -= size

    def _lock(self, path: Path) -> FileLock:
        path.parent.mkdir(parents=True, exist_ok=True)
        return FileLock(path.with_suffix(".downloading"))


def open_shards(
    root: str, cache_folder: Path | None, limit: int | None
) -> tuple[ShardStore, bytes]:
    """Return the store at `root` and its manifest.

    A cache holds a folder for each manifest it has read, so shards that are rewritten at the
    same address are never mixed with old ones.

    Raises:
        DataError: where there is no manifest.
    """
    if cache_folder is None:
        path = Path(root) / MANIFEST
        if not path.is_file():
            raise DataError(
                f"data.root={root}: there is no {MANIFEST}, so these are no shards or writing them "
                "was not finished. Fix: python -m potstill.data.storage.write_shards FOLDER OUT"
            )
        return ShardStore(Path(root)), path.read_bytes()
    root = root.rstrip("/")
    cache_folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=cache_folder) as folder:
        path = Path(folder) / MANIFEST
        _download(root, MANIFEST, path)
        manifest = path.read_bytes()
    key = hashlib.sha256(manifest).hexdigest()[:16]
    return CachedShardStore(cache_folder / key, root, limit), manifest


def check_litdata(key: str) -> None:
    """Raise where litdata is not installed; `key` is the setting that needs it.

    Raises:
        ConfigError: with what to install.
    """
    try:
        import litdata  # noqa: F401
    except ImportError as error:
        raise ConfigError(
            f"{key}: needs litdata, which is not installed. Fix: pip install 'potstill[shards]'"
        ) from error


@cache
def _downloader(address: str, process: int) -> Any:
    """Return litdata's downloader; one for each process, as its clients do not survive a fork."""
    from litdata.streaming.downloader import get_downloader

    return get_downloader(address, "", [])


def _download(address: str, name: str, path: Path) -> None:
    partial = path.with_name(f"{path.name}.{os.getpid()}.partial")
    try:
        # Not litdata's `download_file`: where it starts a runtime of its own, no worker may fork.
        with _reported(address, name), partial.open("wb") as file:
            _downloader(address, os.getpid()).download_fileobj(f"{address}/{name}", file)
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def _not_whole(root: str, chunk: Chunk, found: int) -> DataError:
    return DataError(
        f"data.root={root}: {chunk.name} has {found} bytes, not {chunk.size}. "
        "Fix: copy it there again, or write the shards again"
    )


@contextmanager
def _reported(address: str, name: str) -> Iterator[None]:
    """Raise whatever litdata's backends raise, which has no common class, as a DataError."""
    try:
        yield
    except Exception as error:
        reason = (str(error) or type(error).__name__).splitlines()[0]
        raise DataError(
            f"data.root={address}: {name} cannot be downloaded ({reason}). "
            "Fix: the address, its credentials, the network, or space in data.cache"
        ) from error
