"""ImageNet, or any folder like it, from shards: for what outgrows one disk or one machine."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import torch

from potstill.config.ranges import Ranges
from potstill.data.imagenet import ImageNet
from potstill.data.loaders.workers import FolderEvalLoader
from potstill.data.storage.image_folder import Files
from potstill.data.storage.shard_index import ShardManifest, ShardPart, read_index
from potstill.data.storage.shard_store import SCHEMES, ShardStore, check_litdata, open_shards
from potstill.data.storage.shards import ShardLoader, Shards
from potstill.errors import ConfigError, DataError


class ImageNetShards(ImageNet):
    """What `ImageNet` reads from a folder, from the shards that were written of it.

    Sample ids, splits, batches and fingerprint are the folder's. Images lie in the shards in
    a random order, so a chunk holds some of every class.

    Args:
        root: a folder that `python -m potstill.data.storage.write_shards` wrote, or the address
            of a copy of it, s3://... or gs://.... An address needs litdata, and credentials in the
            environment, as Amazon's and Google's own tools do.
        cache: folder for what is downloaded from an address; needed for one.
        cache_gb: its size limit, in 10^9 bytes; all, where null.
        chunk_window: chunks that are mixed at a time in training, in an order of their own that
            downloads each chunk once an epoch; null for the folder's order.
        settings: see `ImageNet`.
    """

    ranges: ClassVar[Ranges] = {
        "cache": "not empty",
        "cache_gb": "(0, inf)",
        "chunk_window": "[1, inf)",
    }

    downloads_to = "cache"

    def __init__(
        self,
        root: str,
        *,
        cache: str | None = None,
        cache_gb: float | None = None,
        chunk_window: int | None = None,
        **settings: Any,
    ) -> None:
        super().__init__(root, **settings)
        self.address, self.chunk_window = root, chunk_window
        self.cache = None if cache is None else Path(cache)
        self.limit = None if cache_gb is None else int(cache_gb * 1e9)
        if chunk_window is not None and chunk_window < 1:
            raise ConfigError(f"data.chunk_window={chunk_window}: too few. Fix: 1 or more, or null")
        _check_place(root, cache, cache_gb)
        self._fits = True  # the cache, all of them

    def prepare_data(self) -> None:
        """Check that the shards are there, in full, and hold the classes they should."""
        self._open()

    def load(self) -> tuple[Shards, Shards]:
        """Return the images of (train, val)."""
        store, manifest = self._open()
        train, val = (self._part(store, manifest, name) for name in ("train", "val"))
        self._fits = self.limit is None or manifest.size <= self.limit
        if not self._fits:
            self._check_cache(train)
        return train, val

    def train_loader(self, split: Files) -> ShardLoader:
        """Return the shuffled, augmented batches of a split."""
        return self._train_loader(ShardLoader, split, chunk_window=self.chunk_window)

    def eval_loader(self, split: Files) -> FolderEvalLoader:
        """Return the batches of a split, the middle of every image, in order."""
        assert isinstance(split, Shards)
        # Its images lie scattered: whole chunks would push those of the training out.
        return super().eval_loader(replace(split, whole=self._fits))

    def _open(self) -> tuple[ShardStore, ShardManifest]:
        store, data = open_shards(self.address, self.cache, self.limit)
        manifest = ShardManifest.from_bytes(data, self.address)
        for part in manifest.parts.values():
            for chunk in part.chunks:
                store.check(chunk)
        self.class_names = _class_names(self.class_names, manifest, self.address)
        if len(self.class_names) != self.num_classes:
            raise DataError(
                f"data.num_classes={self.num_classes}: {self.address} holds "
                f"{len(self.class_names)} classes. Fix: data.num_classes={len(self.class_names)}"
            )
        return store, manifest

    def _part(self, store: ShardStore, manifest: ShardManifest, name: str) -> Shards:
        part: ShardPart = manifest.parts[name]
        index = read_index(part, store.fetch, self.address)
        label = torch.tensor([self.class_names.index(name) for name in manifest.class_names])
        shards = Shards(
            store.root,
            index.names,
            index.sizes,
            label[index.targets],
            store,
            part.chunks,
            index.chunk,
            index.begin,
            index.digest,
        )
        return shards[shards.targets.argsort(stable=True)]

    def _check_cache(self, train: Shards) -> None:
        """Raise where a cache that cannot hold everything would be filled over and over."""
        given = f"data.cache_gb={(self.limit or 0) / 1e9:g}"
        largest = max(chunk.size for chunk in train.chunks)
        if self.chunk_window is None:
            raise ConfigError(
                f"{given}: less than the shards have, and the order of data.chunk_window=null "
                "wants all of them all the time. Fix: data.chunk_window=16, or more data.cache_gb"
            )
        if self.mix is not None:
            raise ConfigError(
                f"{given}: less than the shards have, and images are mixed with any others. "
                "Fix: data.mixup=0 data.cutmix=0, or more data.cache_gb"
            )
        # Twice: workers read ahead.
        if 2 * self.chunk_window * largest > (self.limit or 0):
            raise ConfigError(
                f"{given}: less than twice the {self.chunk_window} chunks of data.chunk_window, "
                f"of up to {largest / 1e9:.2g} GB. Fix: more of it, or a smaller window"
            )


def _check_place(root: str, cache: str | None, cache_gb: float | None) -> None:
    if root.startswith(SCHEMES):
        if cache is None:
            raise ConfigError(
                f"data.root={root}: what is downloaded from there needs a place. "
                "Fix: data.cache=FOLDER"
            )
        check_litdata(f"data.root={root}")
    elif "://" in root:
        raise ConfigError(f"data.root={root}: unknown kind. Fix: a folder, s3://... or gs://...")
    elif cache is not None:
        raise ConfigError(f"data.cache={cache}: nothing is downloaded. Fix: data.cache=null")
    if cache_gb is not None and (cache is None or cache_gb <= 0):
        raise ConfigError(
            f"data.cache_gb={cache_gb}: must be above 0, and does nothing without data.cache. "
            "Fix: data.cache_gb=null"
        )


def _class_names(wanted: Sequence[str], manifest: ShardManifest, root: str) -> tuple[str, ...]:
    names = tuple(wanted) or manifest.class_names
    if strange := set(names) ^ set(manifest.class_names):
        raise DataError(
            f"data.class_names={list(wanted)}: not the classes of {root}, for one {min(strange)}. "
            "Fix: data.class_names=null, or those"
        )
    return names
