"""Which store a run gets: found, built anew, refused by name, or none."""

import errno
import os
import time

import pytest
import torch

from potstill.errors import ConfigError, DataError, StorageError
from potstill.teacher.cache import open, segments
from potstill.teacher.cache.open import open_store, summarize, uncacheable
from tests.support.store_cases import MANIFEST, STALE, manifest, open_new, outputs_of

IDS, VIEW = torch.arange(10), torch.full((10,), 3)


def filled(store_dir, **changes):
    """Return the folder of a store with ten rows."""
    mine = open_new(store_dir / manifest(**changes).folder_name, **changes)
    if not changes:
        mine.put(IDS, VIEW, outputs_of(IDS, VIEW))
        mine.flush()
    return mine.folder


def test_auto_builds_then_finds(tmp_path):
    mine = open_store("auto", tmp_path, MANIFEST)
    mine.put(IDS, VIEW, outputs_of(IDS, VIEW))
    mine.flush()
    for mode in ("auto", "read"):
        again = open_store(mode, str(tmp_path), MANIFEST)
        assert (len(again), again.folder) == (10, tmp_path / MANIFEST.folder_name)
        assert again.writable == (mode == "auto")


@pytest.mark.parametrize("field", STALE)
def test_a_stale_store_is_refused_by_name_and_auto_builds_beside_it(tmp_path, field):
    old, wanted = filled(tmp_path), manifest(**{field: STALE[field]})
    with pytest.raises(DataError, match=rf"{old.name} differs in {field}: .* -> .*Fix") as caught:
        open_store("read", tmp_path, wanted)
    assert caught.value.exit_code == 3
    assert len(open_store("auto", tmp_path, wanted)) == 0
    assert len(open_store("read", tmp_path, MANIFEST)) == 10


def test_a_folder_under_another_ones_name_is_refused(tmp_path):
    filled(tmp_path).rename(tmp_path / manifest(seed=4).folder_name)
    for mode in ("auto", "read", "refresh"):
        with pytest.raises(DataError, match=r"holds other outputs \(seed: null -> 4\)"):
            open_store(mode, tmp_path, manifest(seed=4))


def test_read_without_any_store(tmp_path):
    with pytest.raises(DataError, match="holds no teacher outputs"):
        open_store("read", tmp_path / "nowhere", MANIFEST)
    assert not (tmp_path / "nowhere").exists()


def test_refresh_begins_again_and_leaves_others_alone(tmp_path):
    folder, other = filled(tmp_path), filled(tmp_path, seed=1)
    assert len(open_store("refresh", tmp_path, MANIFEST)) == 0
    assert [path.name for path in folder.iterdir()] == ["manifest.json"]
    assert other.is_dir()


def test_refresh_needs_no_readable_files(tmp_path):
    (path,) = filled(tmp_path).glob("*.safetensors")
    path.write_bytes(b"")
    with pytest.raises(DataError, match="damaged"):
        open_store("auto", tmp_path, MANIFEST)
    assert len(open_store("refresh", tmp_path, MANIFEST)) == 0


def test_obstacles(tmp_path):
    reason = "heads want layer3"
    assert open_store("off", tmp_path, MANIFEST) is None
    assert open_store("auto", tmp_path, None, reason) is None
    for mode in ("read", "refresh"):
        with pytest.raises(ConfigError, match=f"store={mode}: {reason}. Fix: teacher.store=off"):
            open_store(mode, tmp_path, None, reason)
    with pytest.raises(ConfigError, match=r"store=on: unknown\. Fix: one of auto, off, read"):
        open_store("on", tmp_path, MANIFEST)
    assert list(tmp_path.iterdir()) == []
    assert uncacheable(["pooled", "layer3", "pooled", "fc:input"]) == ["fc:input", "layer3"]


def test_a_read_only_disk_is_read(tmp_path, monkeypatch):
    folder = filled(tmp_path)
    (leftover := folder / ".abc.safetensors.123").touch()
    os.utime(leftover, (time.time() - 10**5,) * 2)

    def refuse(*_, **__):
        raise OSError(errno.EROFS, "Read-only file system")

    monkeypatch.setattr(open.tempfile, "TemporaryFile", refuse)
    monkeypatch.setattr(segments, "write_atomically", refuse)
    monkeypatch.setattr(os, "replace", refuse)
    before = sorted(path.stat().st_mtime_ns for path in (folder, *folder.iterdir()))
    mine = open_store("auto", tmp_path, MANIFEST)
    assert not mine.writable
    mine.put(IDS, VIEW + 1, outputs_of(IDS, VIEW + 1))
    mine.reload()
    assert len(mine) == 10
    assert summarize(mine).endswith("; read only")
    assert before == sorted(path.stat().st_mtime_ns for path in (folder, *folder.iterdir()))
    with pytest.raises(StorageError, match="refresh"):
        open_store("refresh", tmp_path, MANIFEST)
    with pytest.raises((StorageError, OSError)):
        open_store("auto", tmp_path, manifest(seed=1))


def test_opening_to_write_cleans_up(tmp_path):
    leftover = filled(tmp_path) / ".abc.safetensors.123"
    leftover.touch()
    os.utime(leftover, (time.time() - 10**5,) * 2)
    open_store("read", tmp_path, MANIFEST)
    assert leftover.exists()
    open_store("auto", tmp_path, MANIFEST)
    assert not leftover.exists()


def test_the_announcement_by_hand(tmp_path):
    filled(tmp_path)
    mine = open_store("auto", tmp_path, MANIFEST)
    line = summarize(mine, 0.01, epochs=4)
    # 50 images x 18 views x 5 classes x 2 bytes = 9,000; 4 epochs x 50 images at 10 ms
    assert line == (
        f"10 of 900 teacher outputs cached in {mine.folder} (0.0 MB; 0.0 MB when full); "
        "at most 200 teacher passes to come, 2 s"
    )
    assert "at most 890 teacher passes" in summarize(mine, epochs=300)
    assert "at most 300 teacher passes" in summarize(mine, epochs=3, views=2)
    cifar = manifest(num_samples=45000, num_views=162, num_classes=10)
    assert "of 7,290,000" in (line := summarize(open_store("auto", tmp_path, cifar)))
    assert "145.8 MB when full" in line
