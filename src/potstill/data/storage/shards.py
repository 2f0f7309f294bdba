"""Loader of images from shards, with the batches of the folder they were written from."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from potstill.data.loaders.workers import FolderLoader
from potstill.data.storage.decode import read_image
from potstill.data.storage.image_folder import Files
from potstill.data.storage.shard_index import Chunk, digest
from potstill.data.storage.shard_store import ShardStore
from potstill.data.transforms.counted_rng import generator
from potstill.errors import DataError

_CHUNKS = 10  # keeps these numbers apart from other uses of the same seed


@dataclass(frozen=True)
class Shards(Files):
    """A split whose images lie in shards; for the rest, the files they were written from.

    Args:
        store: where the shards are.
        chunks: those of this part.
        chunk: (N,) int64, which of them has each image.
        begin: (N,) int64, where in it.
        digest: (N,) int64, of each image's bytes.
        whole: keep all of a chunk when an image of it is read, where it has to be downloaded.
    """

    store: ShardStore
    chunks: tuple[Chunk, ...]
    chunk: Tensor
    begin: Tensor
    digest: Tensor
    whole: bool = True

    def __getitem__(self, sample_id: Tensor) -> "Shards":
        """Return the images with these ids (M,)."""
        columns = ("sizes", "targets", "chunk", "begin", "digest")
        chosen = {name: getattr(self, name)[sample_id] for name in columns}
        return replace(self, names=self.names[sample_id.numpy()], **chosen)

    def path(self, sample_id: int) -> Path:
        """Return the chunk and the name of one image, joined to one path."""
        chunk = self.chunks[int(self.chunk[sample_id])]
        return self.root / f"{chunk.name}:{self.names[sample_id].decode(errors='replace')}"

    def image(self, sample_id: int, max_pixels: int) -> Tensor:
        """Return one image, (3, H, W) uint8.

        Raises:
            DataError: where its bytes are not those that were written.
        """
        chunk = self.chunks[int(self.chunk[sample_id])]
        begin, size = int(self.begin[sample_id]), int(self.sizes[sample_id])
        content = self.store.read(chunk, begin, size, self.whole)
        path = self.path(sample_id)
        if digest(content) != int(self.digest[sample_id]):
            raise DataError(
                f"file={path}: is damaged, its checksum does not fit. Fix: copy or write "
                f"{chunk.name} again; where it was downloaded, delete it"
            )
        return read_image(path, max_pixels, content)


def chunk_order(chunk: Tensor, window: int, seed: int, epoch: int) -> Tensor:
    """Return an epoch's order that goes through the chunks, about `window` of them at a time.

    Chunks are shuffled, and their images scattered evenly over the `window` places from a
    chunk's own on: one chunk after the other comes into use, and none does twice.

    Args:
        chunk: (N,) int64, which chunk has each image.
        window: how many chunks are mixed.
        seed: with the epoch, chooses the order.
        epoch: from 0.

    Returns:
        (N,) int64, positions in `chunk`.
    """
    draw = generator(_CHUNKS, seed, epoch)
    place = torch.randperm(int(chunk.max()) + 1, generator=draw)  # of each chunk
    spread = window * torch.rand(len(chunk), generator=draw, dtype=torch.float64)
    return (place[chunk] + spread).argsort(stable=True)


class ShardLoader(FolderLoader):
    """`FolderLoader`, in its order or, with a `chunk_window`, in that of `chunk_order`."""

    files: Shards

    def __init__(self, *args: Any, chunk_window: int | None = None, **settings: Any) -> None:
        super().__init__(*args, **settings)
        self.chunk_window = chunk_window

    def order(self, epoch: int) -> Tensor:
        """Return the sample ids of `epoch` in their order, (num_samples,) int64."""
        if self.chunk_window is None:
            return super().order(epoch)
        return chunk_order(self.files.chunk, self.chunk_window, self.seed, epoch)
