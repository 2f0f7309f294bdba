"""Writer of shards: `python -m potstill.data.storage.write_shards ROOT OUT`."""

import argparse
import hashlib
import json
import sys
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from rich.console import Console
from rich.progress import track
from torch import Tensor

from potstill.atomic import write_atomically
from potstill.data.storage.image_folder import Files, check_classes, class_folders, find_files
from potstill.data.storage.shard_index import (
    MANIFEST,
    PARTS,
    Chunk,
    Index,
    ShardManifest,
    ShardPart,
    digest,
)
from potstill.data.storage.shard_store import check_litdata
from potstill.data.transforms.counted_rng import generator
from potstill.errors import ConfigError, DataError, PotstillError, StorageError

_PLACE = 11  # keeps these numbers apart from other uses of the same seed
_LEAVES = 3  # of an item, as litdata calls them: image, target, name


def write_shards(root: Path, out: Path, chunk_mb: float = 64) -> ShardManifest:
    """Write `root/{train,val}/CLASS/*` to `out` in litdata's format, and return its manifest.

    Images keep their bytes. They go into the chunks in a random order, always the same, so
    that each chunk holds some of every class. All of it is read back and checked before the
    manifest, which makes the folder one of shards, is written.

    Args:
        root: a folder in ImageNet's layout.
        out: an empty folder, or none yet.
        chunk_mb: size of a file, in 10^6 bytes.

    Raises:
        DataError: where `root` is not as it should be, or does not come back as it went in.
        ConfigError: where `out` is not empty, or litdata is missing.
        StorageError: where `out` cannot be written.
    """
    if not 0 < chunk_mb <= 2000:
        raise ConfigError(f"--chunk-mb={chunk_mb:g}: must be above 0, up to 2000. Fix: 64")
    check_litdata(f"OUT={out}")
    class_names = class_folders(root / "train")
    check_classes(root / "val", class_names)
    splits = {part: find_files(root, part, class_names) for part in PARTS}
    try:
        _claim(out)
        parts = {
            part: _write_part(files, part, out, int(chunk_mb * 1e6))
            for part, files in splits.items()
        }
    except OSError as error:
        raise StorageError(
            f"OUT={out}: cannot be written ({error.strerror}). Fix: more space, or another folder"
        ) from error
    manifest = ShardManifest(class_names, parts)
    write_atomically(out / MANIFEST, manifest.to_text())
    return manifest


def _claim(out: Path) -> None:
    out.mkdir(parents=True, exist_ok=True)
    if any(out.iterdir()):
        raise ConfigError(f"OUT={out}: is not empty. Fix: another folder, or delete it")


def _write_part(files: Files, part: str, out: Path, chunk_bytes: int) -> ShardPart:
    from litdata.streaming import Cache

    order = torch.randperm(len(files), generator=generator(_PLACE, 0))
    written = torch.empty(len(files), dtype=torch.int64)
    cache = Cache(str((out / part).absolute()), chunk_bytes=chunk_bytes)
    with warnings.catch_warnings():
        # An image larger than a chunk should be has a chunk of its own.
        warnings.filterwarnings("ignore", "An item was larger than the target chunk size")
        for place, sample_id in enumerate(_progress(order.tolist(), f"writing {part}")):
            content = _content(files.path(sample_id))
            written[sample_id] = digest(content)
            name = bytes(files.names[sample_id])
            cache[place] = (content, int(files.targets[sample_id]), name)
        cache.done()
    cache.merge()
    return _index(files, order, written, part, out)


def _content(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise DataError(
            f"file={path}: cannot be read ({error.strerror}). Fix: replace or remove the file"
        ) from error


def _index(files: Files, order: Tensor, written: Tensor, part: str, out: Path) -> ShardPart:
    """Find every image in the chunks, check it, and write down where it is."""
    listed = json.loads((out / part / "index.json").read_text())["chunks"]
    names = [f"{part}/{chunk['filename']}" for chunk in listed]
    chunk, begin = torch.empty_like(order), torch.empty_like(order)
    found = zip(_progress(order.tolist(), f"checking {part}"), _items(out, names), strict=True)
    for sample_id, (number, start, rest) in found:
        if digest(rest[: int(files.sizes[sample_id])]) != int(written[sample_id]):
            raise DataError(
                f"OUT={out}: {files.path(sample_id)} did not come back from {names[number]} as it "
                "was. Fix: check the disk, and that nothing changes the images meanwhile"
            )
        chunk[sample_id], begin[sample_id] = number, start
    data = Index(files.names, files.targets, files.sizes, chunk, begin, written).to_bytes()
    write_atomically(out / f"{part}.safetensors", data)
    chunks = tuple(Chunk(name, (out / name).stat().st_size) for name in names)
    return ShardPart(chunks, f"{part}.safetensors", hashlib.sha256(data).hexdigest())


def _items(out: Path, names: list[str]) -> Iterator[tuple[int, int, memoryview]]:
    """Yield for each item of each chunk: which chunk, where its image begins, and all from there.

    A chunk is the number of items, where each begins, and the items; an item is the sizes of its
    leaves, and the leaves; numbers have four bytes.
    """
    for number, name in enumerate(names):
        content = memoryview((out / name).read_bytes())
        count = int.from_bytes(content[:4], "little")
        for item in np.frombuffer(content, "<u4", count, offset=4).tolist():
            start = item + 4 * _LEAVES
            yield number, start, content[start:]


def _progress(ids: list[int], what: str) -> Iterator[int]:
    yield from track(ids, what, console=Console(stderr=True))


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m potstill.data.storage.write_shards",
        description="Write a folder of images, train/CLASS/* and val/CLASS/*, as shards.",
    )
    parser.add_argument("root", metavar="ROOT", type=Path, help="the folder")
    parser.add_argument("out", metavar="OUT", type=Path, help="an empty folder, or none yet")
    parser.add_argument("--chunk-mb", type=float, default=64, help="size of a file, 64 by default")
    given = parser.parse_args(arguments)
    try:
        manifest = write_shards(given.root, given.out, given.chunk_mb)
    except PotstillError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    chunks = sum(len(part.chunks) for part in manifest.parts.values())
    print(f"wrote {chunks} chunks, {manifest.size / 1e9:.2f} GB: data.root={given.out}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
