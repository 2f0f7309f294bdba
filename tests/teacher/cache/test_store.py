"""The table against a plain dict; many writers, some of them killed."""

import os
import random
import signal
import time
import traceback

import pytest
import torch

from potstill.errors import DataError
from potstill.teacher.cache import segments, store
from potstill.teacher.cache.encoding import CachedOutputs
from potstill.teacher.cache.store import TeacherStore
from tests.support.store_cases import logits_of, manifest, open_new, outputs_of

SAMPLES, VIEWS = 50, 18


def draw(generator, count=16):
    """Return `count` different samples with a view each."""
    return (
        torch.randperm(SAMPLES, generator=generator)[:count],
        torch.randint(VIEWS, (count,), generator=generator),
    )


def everything():
    rows = torch.arange(SAMPLES * VIEWS)
    return rows % SAMPLES, rows // SAMPLES


@pytest.mark.parametrize("seed", range(3))
def test_like_a_dict(tmp_path, monkeypatch, seed):
    monkeypatch.setattr(segments, "MERGE_ABOVE", 4)
    generator, choose = torch.Generator().manual_seed(seed), random.Random(seed)
    stores, known = [open_new(tmp_path), open_new(tmp_path)], [set(), set()]
    written = [set(), set()]
    for _ in range(120):
        number = choose.randrange(2)
        mine, sample_id, view = stores[number], *draw(generator)
        keys = list(zip(sample_id.tolist(), view.tolist(), strict=True))
        found, present = mine.get(sample_id, view)
        assert present.tolist() == [key in known[number] for key in keys]
        expected = logits_of(sample_id, view) * present[:, None]
        assert torch.equal(found.logits, expected)
        mine.put(sample_id, view, outputs_of(sample_id, view))
        known[number] |= set(keys)
        if choose.random() < 0.3:
            mine.flush()
            written[number] = set(known[number])
        if choose.random() < 0.1:
            mine.reload()
            written[number] = set(known[number])
            known[number] |= written[1 - number]
            written[number] = set(known[number])
        assert len(mine) == len(known[number])
        assert torch.equal(
            mine.stored_rows(), mine.has(torch.arange(mine.num_rows)).nonzero()[:, 0]
        )
    again = open_new(tmp_path)
    sample_id, view = everything()
    found, present = again.get(sample_id, view)
    keys = zip(sample_id.tolist(), view.tolist(), strict=True)
    assert present.tolist() == [key in written[0] | written[1] for key in keys]
    assert torch.equal(found.logits, logits_of(sample_id, view) * present[:, None])


def test_rows_already_there_stay_as_they_are(tmp_path):
    mine, (sample_id, view) = open_new(tmp_path), draw(torch.Generator().manual_seed(0))
    mine.put(sample_id, view, outputs_of(sample_id, view))
    returned = mine.put(sample_id, view, CachedOutputs(torch.zeros(16, 5)))
    assert torch.equal(returned.logits, torch.zeros(16, 5))
    assert torch.equal(mine.get(sample_id, view)[0].logits, logits_of(sample_id, view))


def test_put_returns_what_get_will(tmp_path):
    mine, (sample_id, view) = open_new(tmp_path, dim_pooled=3), draw(torch.Generator())
    outputs = CachedOutputs(torch.randn(16, 5), torch.randn(16, 3))
    put = mine.put(sample_id, view, outputs)
    mine.flush()
    for reader in (mine, open_new(tmp_path, dim_pooled=3)):
        found, present = reader.get(sample_id, view)
        assert bool(present.all())
        assert torch.equal(found.logits, put.logits)
        assert torch.equal(found.pooled, put.pooled)
    assert torch.equal(put.logits, outputs.logits.half().float())
    absent, present = mine.get(sample_id, (view + 1) % VIEWS)
    assert not bool(present.any() | absent.pooled.any() | absent.logits.any())


def test_absent_rows_of_a_top_k_store_are_zero(tmp_path):
    mine = open_new(tmp_path, top_k=2)
    found, present = mine.get(torch.arange(4), torch.arange(4))
    assert not bool(present.any() | found.logits.any())


@pytest.mark.parametrize(("sample_id", "view"), [(50, 0), (-1, 0), (0, 18), (0, -1)])
def test_keys_outside_are_refused(tmp_path, sample_id, view):
    with pytest.raises(ValueError, match="below 50 and views below 18"):
        open_new(tmp_path).get(torch.tensor([sample_id]), torch.tensor([view]))


def test_pending_rows_are_written_when_there_are_many(tmp_path, monkeypatch):
    monkeypatch.setattr(store, "FLUSH_BYTES", 32 * 10)  # 32 rows
    mine, (sample_id, view) = open_new(tmp_path), draw(torch.Generator(), 20)
    mine.put(sample_id, view, outputs_of(sample_id, view))
    assert len(list(tmp_path.glob("*.safetensors"))) == 0
    mine.put(sample_id, (view + 1) % VIEWS, outputs_of(sample_id, view))
    assert len(list(tmp_path.glob("*.safetensors"))) == 1
    assert len(open_new(tmp_path)) == 40


def test_read_only_touches_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr(segments, "MERGE_ABOVE", 2)
    writer, generator = open_new(tmp_path), torch.Generator().manual_seed(0)
    for _ in range(8):
        sample_id, view = draw(generator)
        writer.put(sample_id, view, outputs_of(sample_id, view))
        writer.flush()
    before = {path: path.stat() for path in (tmp_path, *tmp_path.iterdir())}
    reader = TeacherStore(tmp_path, manifest(), writable=False)
    assert torch.equal(reader.get(sample_id, view)[0].logits, logits_of(sample_id, view))
    reader.put(sample_id, (view + 1) % VIEWS, outputs_of(sample_id, view))
    reader.flush()
    reader.reload()
    assert len(reader) == len(writer)
    for path, then in before.items():
        now = path.stat()
        assert (now.st_ino, now.st_size, now.st_mtime_ns) == (
            then.st_ino,
            then.st_size,
            then.st_mtime_ns,
        )


def test_a_damaged_file_is_named(tmp_path):
    mine, (sample_id, view) = open_new(tmp_path), draw(torch.Generator())
    mine.put(sample_id, view, outputs_of(sample_id, view))
    mine.flush()
    (path,) = tmp_path.glob("*.safetensors")
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(DataError, match=f"{path.name}: damaged"):
        open_new(tmp_path)


def write_until_killed(folder, number):
    """A writer's life: rows of its own, a file or a merge every few, for ever."""
    generator = torch.Generator().manual_seed(number)
    mine = TeacherStore(folder, manifest())
    for step in range(60 if number < 2 else 10**6):
        sample_id, view = draw(generator)
        mine.put(sample_id, view, outputs_of(sample_id, view))
        mine.flush()
        if step % 5 == 4:
            mine.reload()


@pytest.mark.parametrize("seed", range(5))
def test_four_writers_two_of_them_killed(tmp_path, monkeypatch, seed):
    monkeypatch.setattr(segments, "MERGE_ABOVE", 4)
    open_new(tmp_path)
    children = []
    for number in range(4):
        if not (child := os.fork()):
            status = 1
            try:
                write_until_killed(tmp_path, number)
                status = 0
            except BaseException:
                traceback.print_exc()
            finally:
                os._exit(status)
        children.append(child)
    time.sleep(random.Random(seed).uniform(0.05, 0.4))
    for child in children[2:]:
        os.kill(child, signal.SIGKILL)
    statuses = [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]
    assert statuses == [0, 0, -signal.SIGKILL, -signal.SIGKILL]
    sample_id, view = everything()
    found, present = open_new(tmp_path).get(sample_id, view)
    assert torch.equal(found.logits, logits_of(sample_id, view) * present[:, None])
    done = torch.zeros(VIEWS, SAMPLES, dtype=torch.bool)
    for number in range(2):  # whatever a writer flushed is there
        generator = torch.Generator().manual_seed(number)
        for _ in range(60):
            sample_id, view = draw(generator)
            done[view, sample_id] = True
    assert bool(present.view(VIEWS, SAMPLES)[done].all())
    assert len(list(tmp_path.glob(".*"))) <= 2  # what the killed were writing; hidden from readers
