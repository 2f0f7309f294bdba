"""Training from files: the same batches with and without workers, and from any place."""

import multiprocessing
import tempfile

import pytest
import torch

from potstill.data.loaders.epoch_order import epoch_order
from potstill.data.loaders.in_memory import Normalize
from potstill.data.loaders.views import Viewing
from potstill.data.loaders.workers import FolderEvalLoader, FolderLoader, Workers
from potstill.data.storage.decode import read_image
from potstill.data.storage.image_folder import find_files
from potstill.data.transforms.random_crop import CentreCrop, RandomCrop
from potstill.errors import DataError, StorageError
from tests.support.image_folders import CLASSES, make_folder

PLAIN = Normalize((0.0, 0.0, 0.0), (1.0, 1.0, 1.0))
CROP = RandomCrop(seed=4, image_size=12)


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    root = make_folder(tmp_path_factory.mktemp("images"), train=5)
    return find_files(root, "train", CLASSES)  # 15 images


def workers(count):
    return Workers(count, max_pixels=10_000, device=torch.device("cpu"))


def train(files, count=0, views=1, **settings):
    return FolderLoader(files, 4, Viewing(CROP, count=views), PLAIN, workers(count), **settings)


def bytes_of(batches):
    return [(image.mul(255).round().byte(), target, ids) for image, target, ids in batches]


def assert_same(ours, theirs):
    assert len(ours) == len(theirs)
    for one, other in zip(ours, theirs, strict=True):
        assert all(torch.equal(a, b) for a, b in zip(one, other, strict=True))


def test_batches_are_the_cropped_files_in_the_epochs_order(files):
    loader = train(files)
    for epoch in range(2):
        order = epoch_order(15, 4, epoch)
        for step, (image, target, ids) in enumerate(bytes_of(loader)):
            assert ids.tolist() == order[4 * step : 4 * step + 4].tolist()
            assert torch.equal(target, files.targets[ids])
            for row, i in zip(image, ids.tolist(), strict=True):
                photo = read_image(files.path(i), 10_000)
                assert torch.equal(row, CROP(photo, i, epoch))
        assert step == len(loader) - 1 == 2


def test_workers_that_outlive_an_epoch_change_nothing(files):
    alone, helped = train(files, 0), train(files, 2)
    for _ in range(3):
        assert_same(list(helped), list(alone))


def test_an_epoch_left_half_way_is_followed_by_the_right_one(files):
    helped = train(files, 1)
    next(iter(helped))
    helped.set_epoch(1)
    alone = train(files)
    alone.set_epoch(1)
    assert_same(list(helped), list(alone))


@pytest.mark.parametrize("done", [1, 2, 3])
def test_a_resume_goes_on_with_the_next_batch_at_another_worker_count(files, done):
    whole = [batch for loader in [train(files)] for _ in range(2) for batch in loader]
    first = train(files, 1)
    iterator = iter(first)
    for _ in range(done):
        next(iterator)
    resumed = train(files)
    resumed.load_state_dict(first.state_dict())
    assert_same([batch for _ in range(2) for batch in resumed], whole[done:])


def test_two_views(files):
    (first, second), _, ids = next(iter(train(files, views=2)))
    for view, images in enumerate((first, second)):
        for image, i in zip(images.mul(255).round().byte(), ids.tolist(), strict=True):
            assert torch.equal(image, CROP(read_image(files.path(i), 10_000), i, 0, view))


@pytest.mark.parametrize("count", [0, 2])
def test_evaluation_reads_every_file_once_in_order(files, count):
    crop = CentreCrop(12)
    loader = FolderEvalLoader(files, 4, crop, PLAIN, workers(count))
    for _ in range(2):
        batches = bytes_of(loader)
        images, targets, ids = (torch.cat(column) for column in zip(*batches, strict=True))
        assert ids.tolist() == list(range(15))
        assert torch.equal(targets, files.targets)
        for image, i in zip(images, range(15), strict=True):
            assert torch.equal(image, crop(read_image(files.path(i), 10_000)))
    assert len(loader) == len(batches) == 4


@pytest.mark.parametrize("count", [0, 1])
def test_a_damaged_file_is_named_in_one_line_from_a_worker_too(tmp_path, count):
    root = make_folder(tmp_path, train=5)
    files = find_files(root, "train", CLASSES)
    files.path(7).write_bytes(files.path(7).read_bytes()[:70])
    with pytest.raises(DataError, match=f"file={files.path(7)}: cannot be read") as error:
        list(train(files, count, drop_last=False))
    assert "\n" not in str(error.value)


def test_a_long_temporary_folder_is_refused_and_not_waited_for(files, tmp_path, monkeypatch):
    place = tmp_path / ("long" * 25)
    place.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(place))
    monkeypatch.delitem(multiprocessing.current_process()._config, "tempdir", raising=False)
    with pytest.raises(StorageError, match=r"longlong: no place for .* TMPDIR=/tmp, or data\.num"):
        train(files, 2)
    train(files, 0)
