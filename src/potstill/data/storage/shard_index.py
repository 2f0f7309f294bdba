"""Manifest and index of a folder of shards, checked before use."""

import hashlib
import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import Tensor

from potstill.errors import DataError
from potstill.integrity.sealed import parse, seal, unseal

MANIFEST = "manifest.json"
PARTS = ("train", "val")
VERSION = 2


@dataclass(frozen=True)
class Chunk:
    """A file of images: its path relative to the shards, and how many bytes it has."""

    name: str
    size: int


@dataclass(frozen=True)
class Index:
    """Where each image of a part lies, by the position it has in the folder it came from.

    Args:
        names: (N,) bytes, `part/CLASS/FILE`.
        targets: (N,) int64, positions in the manifest's class names.
        sizes: (N,) int64, bytes of each image.
        chunk: (N,) int64, positions in the part's chunks.
        begin: (N,) int64, where in the chunk the image's bytes begin.
        digest: (N,) int64, `digest` of those bytes.
    """

    names: np.ndarray
    targets: Tensor
    sizes: Tensor
    chunk: Tensor
    begin: Tensor
    digest: Tensor

    def to_bytes(self) -> bytes:
        """Return the index as the bytes of a safetensors file."""
        columns = {key: value for key, value in vars(self).items() if key != "names"}
        names = self.names.reshape(-1, 1).view(np.uint8)  # (N, longest name)
        return safetensors.torch.save(columns | {"names": torch.from_numpy(names.copy())})

    @classmethod
    def from_bytes(cls, data: bytes) -> "Index":
        """Return the index in the bytes of a safetensors file; inverse of `to_bytes`."""
        columns = safetensors.torch.load(data)
        names = columns.pop("names").numpy()
        return cls(names=names.view(f"S{names.shape[1]}")[:, 0], **columns)


@dataclass(frozen=True)
class ShardPart:
    """One part as the manifest has it: its chunks, and its index's file name and sha256."""

    chunks: tuple[Chunk, ...]
    index: str
    sha256: str


@dataclass(frozen=True)
class ShardManifest:
    """Class names and parts of a folder of shards."""

    class_names: tuple[str, ...]
    parts: dict[str, ShardPart]

    @property
    def size(self) -> int:
        """Size of all chunks of all parts in bytes."""
        return sum(chunk.size for part in self.parts.values() for chunk in part.chunks)

    def to_text(self) -> str:
        """Return the manifest as JSON that holds a sha256 of itself."""
        return seal(asdict(self), VERSION, indent=1) + "\n"

    @classmethod
    def from_bytes(cls, data: bytes, root: str) -> "ShardManifest":
        """Return the manifest of the shards at `root` that `to_text` made.

        Raises:
            DataError: where it is not what was written, or of another version.
        """
        try:
            body = _first_version(data)
            if body is None:
                source = f"data.root={root}: {MANIFEST}"
                body = unseal(data, source, VERSION, fix="write the shards again")
            parts = {key: _part(value) for key, value in body["parts"].items()}
            return cls(tuple(body["class_names"]), parts)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise _damaged(root, MANIFEST, error) from error


def digest(content: bytes | memoryview) -> int:
    """Return 64 bits of BLAKE2b as an int64: enough to detect damage, fast beside decoding."""
    return int.from_bytes(hashlib.blake2b(content, digest_size=8).digest(), signed=True)


def read_index(part: ShardPart, fetch: Callable[[str], Path], root: str) -> Index:
    """Return a part's index from the file that `fetch` finds by its name.

    Raises:
        DataError: where it is not the one the manifest was written with.
    """
    data = fetch(part.index).read_bytes()
    try:
        if hashlib.sha256(data).hexdigest() != part.sha256:
            raise ValueError("its checksum is not the manifest's")
        return Index.from_bytes(data)
    except (ValueError, SafetensorError) as error:
        raise _damaged(root, part.index, error) from error


def _part(body: dict[str, Any]) -> ShardPart:
    chunks = tuple(Chunk(**chunk) for chunk in body["chunks"])
    return ShardPart(chunks, body["index"], body["sha256"])


def _first_version(data: bytes) -> dict[str, Any] | None:
    """Return a manifest of version 1, whose checksum is of its values; None for another."""
    body = parse(data.decode())
    if not isinstance(body, dict) or body.get("version") != 1 or "sha256" not in body:
        return None
    stated = body.pop("sha256")
    if stated != hashlib.sha256(json.dumps(body, sort_keys=True).encode()).hexdigest():
        raise ValueError("its checksum does not fit")
    return body


def _damaged(root: str, name: str, error: Exception) -> DataError:
    return DataError(
        f"data.root={root}: {name} is damaged or was changed ({error}). Fix: write the shards again"
    )
