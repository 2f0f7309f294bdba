"""Checkpoints on disk: whole, absent, or found out."""

import hashlib
import json
import logging
import os
import pickle
import random
import resource
import signal

import pytest
import torch

from potstill.errors import DataError, StorageError
from potstill.integrity.sealed import read_sealed
from potstill.training.checkpoints import files
from potstill.training.checkpoints.files import (
    clean,
    damage,
    last_good,
    link,
    name_of,
    prune,
    read,
    write,
)

STATE = {"global_step": 7, "epoch": 2, "state_dict": {"w": torch.arange(6.0)}, "names": ["a"]}


def saved(folder, step=7):
    path = folder / name_of(step)
    write(STATE | {"global_step": step}, path)
    return path


def test_what_is_read_is_what_was_written(tmp_path):
    path = saved(tmp_path / "new")
    found = read(path)
    assert torch.equal(found["state_dict"]["w"], STATE["state_dict"]["w"])
    assert (found["global_step"], found["names"]) == (7, ["a"])
    assert sorted(os.listdir(path.parent)) == ["step-00000007.ckpt", "step-00000007.json"]


def test_the_manifest_is_what_sha256_says_of_the_file(tmp_path):
    path = saved(tmp_path)
    data = path.read_bytes()
    assert read_sealed(path.with_suffix(".json")) == {
        "sha256": hashlib.sha256(data).hexdigest(),
        "bytes": len(data),
        "step": 7,
        "epoch": 2,
    }


def test_every_flipped_bit_is_found(tmp_path):
    path, draw = saved(tmp_path), random.Random(0)
    data = path.read_bytes()
    for _ in range(50):
        bit = draw.randrange(8 * len(data))
        flipped = bytearray(data)
        flipped[bit // 8] ^= 1 << bit % 8
        path.write_bytes(flipped)
        with pytest.raises(DataError, match=r"step-00000007\.ckpt: damaged, other bytes"):
            read(path)


@pytest.mark.parametrize("share", [0, 0.1, 0.5, 0.99])
def test_a_truncated_checkpoint_is_named_and_the_one_before_it_used(tmp_path, share, caplog):
    older, newer = saved(tmp_path, 9), saved(tmp_path, 10)
    size = newer.stat().st_size
    os.truncate(newer, int(share * size))
    with pytest.raises(DataError, match=rf"{newer}: damaged, {int(share * size)} of {size} bytes"):
        read(newer)
    with caplog.at_level(logging.WARNING):
        assert last_good(tmp_path) == older
    [record] = caplog.records
    assert record.getMessage().startswith(f"{newer}: damaged")


def test_the_newest_counts_by_number_not_by_name_or_time(tmp_path):
    for step in (100_000_000, 9, 500):
        saved(tmp_path, step)
    assert last_good(tmp_path).name == "step-100000000.ckpt"


def test_the_best_serves_where_no_other_is_whole(tmp_path):
    path = saved(tmp_path, 3)
    write(STATE | {"global_step": 2}, tmp_path / files.BEST)
    assert last_good(tmp_path) == path
    path.write_bytes(b"")
    assert last_good(tmp_path).name == files.BEST


def test_none_yet_is_no_error_and_all_damaged_is(tmp_path):
    assert last_good(tmp_path / "missing") is None
    (tmp_path / name_of(1)).write_bytes(b"its manifest was never written")
    assert last_good(tmp_path) is None
    saved(tmp_path, 2).write_bytes(b"")
    with pytest.raises(DataError, match="every checkpoint is damaged"):
        last_good(tmp_path)


@pytest.mark.parametrize("text", ["", "{}", "[]", '{"sha256": "0"}'])
def test_a_damaged_manifest_is_no_proof(tmp_path, text):
    path = saved(tmp_path)
    path.with_suffix(".json").write_text(text)
    assert damage(path) == "its manifest step-00000007.json is damaged"


def test_a_checkpoint_that_is_missing_or_bare_is_refused(tmp_path):
    with pytest.raises(DataError, match="no such checkpoint"):
        read(tmp_path / "missing.ckpt")
    torch.save(STATE, tmp_path / "bare.ckpt")
    with pytest.raises(DataError, match=r"has no manifest bare\.json"):
        read(tmp_path / "bare.ckpt")


class Touch:
    def __init__(self, path):
        self.path = str(path)

    def __reduce__(self):
        return (open, (self.path, "w"))


def test_no_code_runs_even_with_a_fitting_manifest(tmp_path):
    path, marker = tmp_path / "evil.ckpt", tmp_path / "marker"
    for dump in (torch.save, lambda thing, to: to.write_bytes(pickle.dumps(thing, protocol=2))):
        dump({"state_dict": Touch(marker)}, path)
        data = path.read_bytes()
        facts = {"sha256": hashlib.sha256(data).hexdigest(), "bytes": len(data)}
        path.with_suffix(".json").write_text(json.dumps(facts))
        with pytest.raises(DataError, match=r"evil\.ckpt: not a checkpoint"):
            read(path)
        assert not marker.exists()


def test_a_full_disk_is_said_and_leaves_the_last_good_one(tmp_path):
    path = saved(tmp_path)
    before = path.read_bytes()
    large = STATE | {"more": torch.zeros(100_000)}
    limit = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, limit[1]))
    try:
        with pytest.raises(StorageError, match=r"cannot be written \(File too large, \d+ MB free"):
            write(large, path)
        with pytest.raises(StorageError, match=r"step-00000008\.ckpt: cannot be written"):
            write(large, tmp_path / name_of(8))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limit)
        signal.signal(signal.SIGXFSZ, handler)
    assert path.read_bytes() == before
    assert damage(path) is None
    assert len(os.listdir(tmp_path)) == 2


def test_a_folder_that_is_a_file_is_a_storage_error(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match="cannot be written"):
        write(STATE, tmp_path / "file" / "x.ckpt")


def test_what_torch_cannot_save_is_no_storage_error(tmp_path):
    with pytest.raises((TypeError, AttributeError, pickle.PicklingError)):
        write({"f": lambda: 0}, tmp_path / "x.ckpt")
    assert not os.listdir(tmp_path)


def test_a_link_is_a_checkpoint_without_a_second_copy(tmp_path):
    first, second = saved(tmp_path, 1), saved(tmp_path, 2)
    best = tmp_path / files.BEST
    for source in (first, second, second):  # twice the same, as after a resume
        link(source, best)
        assert damage(best) is None
        assert best.samefile(source)
    assert len(os.listdir(tmp_path)) == 6
    prune(tmp_path, 2, keep=1)
    second.unlink()
    assert read(best)["global_step"] == 2


def test_prune_keeps_the_newest_up_to_the_step(tmp_path):
    for step in (1, 2, 3, 8):
        saved(tmp_path, step)
    write(STATE, tmp_path / files.BEST)
    prune(tmp_path, 3, keep=2)
    kept = {"best.ckpt", "best.json"}
    kept |= {f"step-0000000{step}.{kind}" for step in (2, 3) for kind in ("ckpt", "json")}
    assert set(os.listdir(tmp_path)) == kept


def test_clean_removes_what_a_kill_left_and_nothing_else(tmp_path):
    saved(tmp_path, 1)
    keep = {*os.listdir(tmp_path), "notes.txt", ".hidden", "mine.ckpt", ".env.12"}
    left = {".step-00000002.ckpt.4711", ".step-00000002.json.4711", "step-00000002.ckpt"}
    for name in {*keep, *left} - {*os.listdir(tmp_path)}:
        (tmp_path / name).write_text("x")
    clean(tmp_path)
    assert set(os.listdir(tmp_path)) == keep
