"""Where shards come from: a folder, or a stand-in for litdata's S3 downloader."""

import os
import shutil

import pytest

from potstill.data.storage.shard_index import Chunk
from potstill.data.storage.shard_store import CachedShardStore, ShardStore, open_shards
from potstill.errors import DataError
from tests.support.shard_folders import put_in_place

CHUNKS = [Chunk(f"train/chunk-0-{number}.bin", 100) for number in range(4)]


def content(number):
    return bytes([number]) * 50 + bytes(range(50))


@pytest.fixture
def far(tmp_path):
    (tmp_path / "far" / "train").mkdir(parents=True)
    for number, chunk in enumerate(CHUNKS):
        (tmp_path / "far" / chunk.name).write_bytes(content(number))
    (tmp_path / "far" / "manifest.json").write_text("first")
    return tmp_path / "far"


@pytest.fixture
def bucket(monkeypatch, tmp_path):
    return put_in_place(monkeypatch, tmp_path)


@pytest.fixture
def store(far, tmp_path, bucket):
    return lambda limit=None: CachedShardStore(tmp_path / "near", f"s3:/{far}", limit)


def kept(store):
    return sorted(path.name for path in store.root.rglob("*.bin"))


def read(store, number, whole=True):
    part = store.read(CHUNKS[number], 48, 5, whole)
    assert part == content(number)[48:53]


def test_a_folder_is_read_in_place(far):
    read(ShardStore(far), 2)
    ShardStore(far).check(CHUNKS[2])


def test_a_chunk_that_is_short_or_gone_is_refused(far):
    (far / CHUNKS[1].name).write_bytes(b"half")
    with pytest.raises(DataError, match=r"train/chunk-0-1.bin has 4 bytes, not 100"):
        ShardStore(far).check(CHUNKS[1])
    (far / CHUNKS[1].name).unlink()
    with pytest.raises(DataError, match=r"train/chunk-0-1.bin has 0 bytes, not 100"):
        ShardStore(far).check(CHUNKS[1])


def test_a_chunk_is_downloaded_once(store, bucket):
    near = store()
    for number in (3, 0, 0, 3):
        read(near, number)
    assert bucket.noted() == ["chunk-0-3.bin", "chunk-0-0.bin"]
    assert kept(near) == ["chunk-0-0.bin", "chunk-0-3.bin"]


def test_a_download_that_breaks_off_leaves_nothing(store, bucket, monkeypatch):
    def broken(self, address, file):
        file.write(b"half")
        raise ConnectionError("reset by peer\nat 10.0.0.1")

    monkeypatch.setattr(bucket, "download_fileobj", broken)
    near = store()
    with pytest.raises(DataError, match=r"cannot be downloaded \(reset by peer\)") as error:
        read(near, 0)
    assert "\n" not in str(error.value)
    assert [path for path in near.root.rglob("chunk*") if path.stat().st_size] == []


def test_a_full_cache_gives_up_what_was_used_longest_ago(store):
    near = store(limit=250)
    for age, number in enumerate((0, 1)):
        read(near, number)
        os.utime(near.root / CHUNKS[number].name, (age, age))
    read(near, 0)  # now chunk 1 is the older one
    read(near, 2)
    assert kept(near) == ["chunk-0-0.bin", "chunk-0-2.bin"]
    read(near, 1)
    assert len(kept(near)) == 2


def test_without_the_whole_chunk_only_the_range_is_downloaded(store, bucket):
    near = store(limit=100)
    for number in range(2):
        read(near, number, whole=False)
    assert bucket.noted() == ["chunk-0-0.bin 48", "chunk-0-1.bin 48"]
    assert kept(near) == []
    read(near, 1)
    read(near, 1, whole=False)
    assert bucket.noted() == ["chunk-0-1.bin"]


def test_a_chunk_of_another_size_is_not_kept(store, far):
    (far / CHUNKS[0].name).write_bytes(b"another")
    near = store()
    with pytest.raises(DataError, match=r"chunk-0-0.bin has 7 bytes, not 100"):
        read(near, 0)
    assert kept(near) == []


def test_what_is_not_there_is_named(store, far):
    (far / CHUNKS[0].name).unlink()
    with pytest.raises(DataError, match=r"data.root=s3:.*chunk-0-0.bin cannot be down"):
        read(store(), 0)


def test_a_cache_that_another_process_empties_again_and_again_is_too_small(store, monkeypatch):
    near = store()
    monkeypatch.setattr(
        CachedShardStore, "_make_room", lambda self: shutil.rmtree(self.root / "train")
    )
    with pytest.raises(DataError, match=r"chunk-0-0.bin is removed as soon as .*data.cache_gb"):
        read(near, 0)


def test_shards_written_anew_at_an_address_have_a_cache_of_their_own(far, tmp_path, bucket):
    first, manifest = open_shards(f"s3:/{far}/", tmp_path / "cache", None)
    assert manifest == b"first"
    read(first, 0)
    (far / "manifest.json").write_text("second")
    second, manifest = open_shards(f"s3:/{far}", tmp_path / "cache", None)
    assert manifest == b"second"
    assert second.root != first.root
    assert kept(second) == []


def test_a_folder_without_a_manifest_is_no_shards(tmp_path):
    with pytest.raises(DataError, match=r"there is no manifest.json.*write_shards FOLDER OUT"):
        open_shards(str(tmp_path), None, None)
