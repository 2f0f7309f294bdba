"""The store's files: every damaged bit found, merged without loss, leftovers gone."""

import os
import random
import time

import pytest
import torch
from safetensors.torch import save

from potstill.errors import DataError, StorageError
from potstill.teacher.cache import segments
from potstill.teacher.cache.encoding import Encoding
from potstill.teacher.cache.segments import (
    merge,
    read_segment,
    read_segments,
    remove_leftovers,
    write_segment,
)

ENCODING = Encoding(3)


def write(folder, rows):
    rows = torch.as_tensor(rows)
    return write_segment(folder, rows, {"logits": (rows[:, None] + torch.arange(3)).half()})


def read_all(folder):
    return read_segments(folder, ENCODING, 1000, {})


def table(found):
    return {
        int(row): logits.tolist()
        for segment in found
        for row, logits in zip(segment.rows, segment.columns["logits"], strict=True)
    }


def test_a_segment_comes_back(tmp_path):
    found = read_segment(write(tmp_path, [5, 2, 9]), ENCODING, 10)
    assert table([found]) == {5: [5, 6, 7], 2: [2, 3, 4], 9: [9, 10, 11]}
    assert (len(found), found.num_bytes) == (3, 3 * (8 + 6))


def test_any_flipped_bit_or_missing_end_is_found(tmp_path):
    path, draw = write(tmp_path, range(20)), random.Random(0)
    whole = path.read_bytes()
    damages = [whole[: len(whole) * part // 100] for part in (0, 10, 50, 99)]
    for _ in range(50):
        damaged = bytearray(whole)
        damaged[draw.randrange(len(whole))] ^= 1 << draw.randrange(8)
        damages.append(bytes(damaged))
    for damaged in damages:
        path.write_bytes(damaged)
        with pytest.raises(DataError, match=rf"{path.name}: damaged.*Fix: delete the file"):
            read_all(tmp_path)


@pytest.mark.parametrize(
    "content",
    [
        b"no safetensors",
        save({"rows": torch.arange(2), "logits": torch.zeros(2, 4).half()}),
        save({"rows": torch.arange(2), "logits": torch.zeros(2, 3)}),
        save({"rows": torch.arange(3), "logits": torch.zeros(2, 3).half()}),
        save({"logits": torch.zeros(2, 3).half()}),
        save({"rows": torch.tensor([0, 10]), "logits": torch.zeros(2, 3).half()}),
        save({"rows": torch.tensor([0, -1]), "logits": torch.zeros(2, 3).half()}),
    ],
)
def test_a_valid_hash_alone_is_not_enough(tmp_path, content):
    path = tmp_path / f"{segments.hashlib.sha256(content).hexdigest()}.safetensors"
    path.write_bytes(content)
    with pytest.raises(DataError, match=rf"{path.name}: damaged"):
        read_segment(path, ENCODING, 10)


def test_a_file_merged_away_during_the_reading_is_looked_for_again(tmp_path, monkeypatch):
    first, second, real = write(tmp_path, [1]), write(tmp_path, [2]), segments.read_segment

    def racing(path, *rest):
        if first.exists():
            first.unlink()
            second.unlink()
            write(tmp_path, [1, 2])
        return real(path, *rest)

    monkeypatch.setattr(segments, "read_segment", racing)
    assert sorted(table(read_all(tmp_path))) == [1, 2]


def test_a_file_that_vanishes_once_hashed_is_gone_not_damaged(tmp_path, monkeypatch):
    path = write(tmp_path, [1])

    def late(*_):
        path.unlink()
        raise RuntimeError("unable to open file")  # as torch says it, one call deeper

    monkeypatch.setattr(segments, "safe_open", late)
    with pytest.raises(FileNotFoundError):
        read_segment(path, ENCODING, 10)


def test_a_folder_that_never_rests_is_reported(tmp_path, monkeypatch):
    write(tmp_path, [1])

    def gone(*_):
        raise FileNotFoundError

    monkeypatch.setattr(segments, "read_segment", gone)
    with pytest.raises(StorageError, match="keep vanishing"):
        read_all(tmp_path)


def test_few_files_stay_as_they_are(tmp_path):
    for row in range(segments.MERGE_ABOVE):
        write(tmp_path, [row])
    assert merge(tmp_path, read_all(tmp_path)) == []


def test_merging_loses_nothing_and_keeps_what_is_read_meanwhile(tmp_path):
    for first in range(0, 200, 10):
        write(tmp_path, range(first, first + 15))  # neighbours overlap
    before = read_all(tmp_path)
    assert len(merge(tmp_path, before)) == 20
    after = read_all(tmp_path)
    assert len(after) == 1
    assert after[0].rows.tolist() == list(range(205))
    assert table(after) == table(before)  # `before` still reads the files that are gone


def test_a_merge_that_adds_nothing_keeps_its_file(tmp_path):
    whole = write(tmp_path, range(20))
    for row in range(20):
        write(tmp_path, [row])
    merge(tmp_path, read_all(tmp_path))
    assert [path.name for path in tmp_path.iterdir()] == [whole.name]


def test_large_files_are_not_written_again(tmp_path, monkeypatch):
    large = write(tmp_path, range(900))
    for row in range(900, 920):
        write(tmp_path, [row])
    merge(tmp_path, read_all(tmp_path))
    assert large.exists()
    assert sorted(len(segment) for segment in read_all(tmp_path)) == [20, 900]
    monkeypatch.setattr(segments, "MERGE_ABOVE", 1)
    monkeypatch.setattr(segments, "MERGED_BYTES", 100)
    assert merge(tmp_path, read_all(tmp_path)) == []


def test_each_row_is_written_a_few_times_only(tmp_path, monkeypatch):
    monkeypatch.setattr(segments, "MERGE_ABOVE", 4)
    written = 0
    for row in range(128):
        write(tmp_path, [row])
        before = read_all(tmp_path)
        merge(tmp_path, before)
        old = {segment.path for segment in before}
        written += sum(len(s) for s in read_all(tmp_path) if s.path not in old)
    assert sorted(table(read_all(tmp_path))) == list(range(128))
    assert written <= 128 * 7  # log2(128); one file rewritten at every fourth row: 128 * 16
    assert len(list(tmp_path.iterdir())) <= 8


def test_leftovers_of_killed_writers_go_when_old(tmp_path):
    old, young, other = (tmp_path / name for name in (".x.safetensors.1", ".y.safetensors.2", ".z"))
    kept = write(tmp_path, [1])
    for path in (old, young, other):
        path.touch()
    past = time.time() - 2 * segments.STALE_SECONDS
    for path in (old, other, kept):
        os.utime(path, (past, past))
    remove_leftovers(tmp_path)
    assert set(tmp_path.iterdir()) == {young, other, kept}
