"""Replayed answers against the online teacher, for every image and view; teacher passes counted.

The views are those of a crop from a padded image and a flip, numbered here in plain Python.
"""

import pytest
import torch
import torch.nn.functional as F

from potstill.errors import ConfigError
from potstill.heads.kd import KD
from potstill.models.features.extractor import FeatureExtractor
from potstill.models.features.outputs import ModelOutputs
from potstill.teacher.cache import cached_teacher
from potstill.teacher.cache.cached_teacher import CachedTeacher
from tests.support.store_cases import manifest, open_new

SAMPLES, VIEWS = 50, 18
IMAGES = torch.randn(SAMPLES, 3, 16, 16, generator=torch.Generator().manual_seed(0))


def shown(sample_id, view):
    """Return views of images: 3 x 3 crops after padding by one, each also mirrored."""
    images = []
    for sample, number in zip(sample_id.tolist(), view.tolist(), strict=True):
        (top, left), flip = divmod(number // 2, 3), number % 2
        image = F.pad(IMAGES[sample], [1] * 4)[:, top : top + 16, left : left + 16]
        images.append(image.flip(-1) if flip else image)
    return torch.stack(images).to(memory_format=torch.channels_last)


def view_index(seed):
    def index(sample_id, epoch, view):
        generator = torch.Generator().manual_seed(1000 * seed + 10 * epoch + view)
        return torch.randint(VIEWS, (SAMPLES,), generator=generator)[sample_id]

    return index


def order(seed, epoch):
    generator = torch.Generator().manual_seed(7 * seed + epoch)
    return torch.randperm(SAMPLES, generator=generator).split(16)


@pytest.fixture
def extractor(tiny):
    return FeatureExtractor(tiny(8).eval(), ["pooled"], (3, 16, 16))


@pytest.fixture
def plain(tiny):
    return FeatureExtractor(tiny(8).eval())


def run(teacher, extractor, epochs, seed=0, start=0):
    """Return every logit of some epochs of training."""
    found = []
    for epoch in range(start, epochs):
        for ids in order(seed, epoch):
            image = shown(ids, teacher.view_index(ids, epoch, 0))
            found.append(teacher(extractor, image, ids, epoch).logits)
    return torch.cat(found)


@torch.no_grad()
def test_every_sample_and_view_is_replayed(tmp_path, extractor):
    rows = torch.arange(SAMPLES * VIEWS)
    all_views = CachedTeacher(
        open_new(tmp_path, dim_pooled=8), lambda ids, epoch, view: torch.full_like(ids, epoch)
    )
    for epoch in range(VIEWS):  # run in batches of 16 ...
        for ids in order(0, epoch):
            all_views(extractor, shown(ids, torch.full_like(ids, epoch)), ids, epoch)
    assert all_views.forwards == len(rows)
    all_views.store.flush()
    replay = CachedTeacher(open_new(tmp_path, dim_pooled=8), all_views.view_index)
    for epoch in range(VIEWS):  # ... and read all at once
        ids = torch.arange(SAMPLES)
        image = shown(ids, torch.full_like(ids, epoch))
        found, online = replay(None, image, ids, epoch), extractor(image)
        # The stated tolerance: half precision, and how a batch's size moves the last bits.
        for ours, theirs in (
            (found.logits, online.logits),
            (found.features["pooled"], online.features["pooled"]),
        ):
            scale = theirs.abs().amax(1, keepdim=True).clamp_min(1)
            assert float(((ours - theirs).abs() / scale).max()) <= 2**-11 + 1e-6
        assert found.sample_id is ids
    assert (replay.forwards, replay.replayed) == (0, len(rows))


def test_the_loss_of_a_replayed_batch_is_the_online_one(tmp_path, plain):
    teacher, ids = CachedTeacher(open_new(tmp_path), view_index(0)), torch.arange(16)
    image = shown(ids, teacher.view_index(ids, 0, 0))
    student = ModelOutputs(torch.randn(16, 5))
    losses = [
        KD(temperature=4.0)(student, signal, ids % 5).item()
        for signal in (plain(image), teacher(plain, image, ids, 0), teacher(None, image, ids, 0))
    ]
    assert losses[1] == losses[2]
    assert losses[0] == pytest.approx(losses[1], rel=1e-3)


def test_a_sweep_of_eight_asks_as_often_as_one_run(tmp_path, plain):
    passes = []
    for _ in range(8):
        teacher = CachedTeacher(open_new(tmp_path), view_index(0))
        run(teacher, plain, epochs=6)
        teacher.store.flush()
        passes.append(teacher.forwards)
    distinct = {
        (sample, view)
        for epoch in range(6)
        for sample, view in enumerate(view_index(0)(torch.arange(SAMPLES), epoch, 0).tolist())
    }
    assert passes == [len(distinct)] + [0] * 7


def test_other_seeds_share_what_they_have_in_common(tmp_path, plain):
    known = set()
    for seed in range(4):
        teacher = CachedTeacher(open_new(tmp_path), view_index(seed))
        run(teacher, plain, epochs=6, seed=seed)
        teacher.store.flush()
        index = [view_index(seed)(torch.arange(SAMPLES), epoch, 0) for epoch in range(6)]
        needed = {(s, v) for views in index for s, v in enumerate(views.tolist())}
        assert teacher.forwards == len(needed - known)
        known |= needed


@pytest.mark.parametrize("flushed_later", [False, True])
def test_a_killed_run_reads_the_numbers_it_would_have_had(tmp_path, plain, flushed_later):
    whole = run(CachedTeacher(open_new(tmp_path / "whole"), view_index(0)), plain, epochs=12)
    killed = CachedTeacher(open_new(tmp_path / "killed"), view_index(0))
    before = run(killed, plain, epochs=5)
    killed.store.flush()  # with the checkpoint
    run(killed, plain, epochs=8, start=5)
    if flushed_later:
        killed.store.flush()
    resumed = CachedTeacher(open_new(tmp_path / "killed"), view_index(0))
    after = run(resumed, plain, epochs=12, start=5)
    assert torch.equal(torch.cat([before, after]), whole)


def test_several_views_are_separate_rows(tmp_path, plain):
    teacher, ids = CachedTeacher(open_new(tmp_path), view_index(0)), torch.arange(16)
    images = tuple(shown(ids, teacher.view_index(ids, 2, number)) for number in range(2))
    found = teacher(plain, images, ids, 2)
    again = teacher(None, images, ids, 2)
    for signal, image in ((found, images[0]), (found.views[0], images[1])):
        torch.testing.assert_close(signal.logits, plain(image).logits, rtol=2e-3, atol=1e-3)
    assert not torch.equal(found.logits, found.views[0].logits)
    assert torch.equal(again.views[0].logits, found.views[0].logits)
    assert len(found.views) == 1


def test_only_missing_rows_are_run(tmp_path, plain):
    teacher, seen = CachedTeacher(open_new(tmp_path), view_index(0)), []

    def forward(image, sample_id):
        seen.append(sample_id.tolist())
        return plain(image, sample_id)

    for ids in (torch.tensor([4, 7]), torch.tensor([3, 7, 8, 4, 1])):
        image = shown(ids, teacher.view_index(ids, 0, 0))
        found = teacher(forward, image, ids, 0)
        torch.testing.assert_close(found.logits, plain(image).logits, rtol=2e-3, atol=1e-3)
    assert seen == [[4, 7], [3, 8, 1]]
    assert (teacher.forwards, teacher.replayed) == (5, 2)


def test_no_graph_is_kept(tmp_path, plain):
    teacher, ids = CachedTeacher(open_new(tmp_path), view_index(0)), torch.arange(4)
    image = shown(ids, teacher.view_index(ids, 0, 0)).requires_grad_()
    assert not teacher(plain, image, ids, 0).logits.requires_grad


def test_an_epoch_laid_out_by_sample_is_the_same(tmp_path, extractor):
    teacher = CachedTeacher(open_new(tmp_path, dim_pooled=8), view_index(0))
    ids, device = torch.cat(order(0, 3)[:2]), torch.device("cpu")
    image = shown(ids, teacher.view_index(ids, 3, 0))
    assert not teacher.start_epoch(ids, 3, [0], device)
    first = teacher(extractor, image, ids, 3)
    assert teacher.start_epoch(ids, 3, [0], device)
    assert not teacher.start_epoch(torch.arange(SAMPLES), 3, [0], device)
    assert not teacher.start_epoch(ids, 3, [0, 1], device)
    assert teacher.start_epoch(ids, 3, [0], device)
    teacher.view_index, index = None, teacher.view_index  # not asked again
    found = teacher(None, image[5:20], ids[5:20], 3)
    assert torch.equal(found.logits, first.logits[5:20])
    assert torch.equal(found.features["pooled"], first.features["pooled"][5:20])
    assert teacher.replayed == 15
    teacher.view_index = index
    assert not teacher.start_epoch(ids, 4, [0], device)
    teacher.view_index = None
    with pytest.raises(TypeError):  # the epoch before is let go
        teacher(None, image, ids, 3)


@pytest.mark.parametrize("settings", [{"dim_pooled": 8}, {"dim_pooled": 8, "top_k": 2}])
def test_a_image_that_was_not_announced_is_not_taken_for_a_teacher_that_says_zero(
    tmp_path, extractor, settings
):
    teacher = CachedTeacher(open_new(tmp_path, **settings), view_index(0))
    ids = torch.arange(SAMPLES)
    teacher(extractor, shown(ids, teacher.view_index(ids, 0, 0)), ids, 0)
    assert teacher.start_epoch(ids[1:], 0, [0], torch.device("cpu"))
    found = teacher(None, torch.empty(2, 3, 8, 8), ids[:2], 0)
    for part in (found.logits, found.features["pooled"]):
        assert part[0].isnan().all()
        assert part[1].isfinite().all()


def test_a_large_epoch_is_read_step_by_step(tmp_path, plain, monkeypatch):
    teacher, ids = CachedTeacher(open_new(tmp_path), view_index(0)), torch.arange(SAMPLES)
    teacher(plain, shown(ids, teacher.view_index(ids, 0, 0)), ids, 0)
    monkeypatch.setattr(cached_teacher, "EPOCH_BYTES", SAMPLES * 10 - 1)
    assert not teacher.start_epoch(ids, 0, [0], torch.device("cpu"))
    monkeypatch.setattr(cached_teacher, "EPOCH_BYTES", SAMPLES * 10)
    assert teacher.start_epoch(ids, 0, [0], torch.device("cpu"))


def test_batches_without_sample_ids_are_refused(tmp_path, plain):
    with pytest.raises(ConfigError, match="no sample ids"):
        CachedTeacher(open_new(tmp_path), view_index(0))(plain, IMAGES, None, 0)


def test_top_k_answers(tmp_path, plain):
    teacher = CachedTeacher(open_new(tmp_path, top_k=2), view_index(0))
    ids = torch.arange(16)
    image = shown(ids, teacher.view_index(ids, 0, 0))
    found, online = teacher(plain, image, ids, 0).logits, plain(image).logits
    top = online.topk(2).indices
    wanted = online.detach().softmax(1).gather(1, top)
    torch.testing.assert_close(found.softmax(1).gather(1, top), wanted, rtol=2e-3, atol=1e-4)
    assert manifest(top_k=2).encoding.row_bytes == 10
