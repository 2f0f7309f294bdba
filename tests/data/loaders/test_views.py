"""Which view is shown when, and any of them shown again."""

import pytest
import torch

from potstill.data.fake import Fake
from potstill.data.imagenet import ImageNet
from potstill.data.loaders import epoch_order
from potstill.errors import ConfigError
from tests.support.image_folders import make_folder

KINDS = {
    "crop": {"crop_padding": 2, "flip": True},
    "jitter": {"color_jitter": [0.4, 0.4, 0.4, 0.1]},
    "randaugment": {"randaugment": [2, 9]},
    "cutout": {"cutout": 4},
    "mixup": {"mixup": 0.4},
    "cutmix": {"cutmix": 1.0},
    "all": {
        **{"crop_padding": 2, "flip": True, "color_jitter": [0.4, 0.4, 0.4, 0.1]},
        **{"randaugment": [1, 5], "cutout": 3, "mixup": 0.4, "cutmix": 1.0},
    },
}


def fake(**settings):
    sizes = {"image_size": 8, "train_size": 40, "test_size": 10, "val_size": 8, "batch_size": 8}
    data = Fake(**(sizes | {"seed": 5} | settings))
    data.setup()
    return data


def by_id(data, epochs=1):
    """Return {(epoch, id): (views, target)} of some epochs."""
    loader, seen = data.train_dataloader(), {}
    for epoch in range(epochs):
        for images, targets, ids in loader:
            views = images if isinstance(images, tuple) else (images,)
            for row, i in enumerate(ids.tolist()):
                seen[epoch, i] = (*(view[row] for view in views), targets[row])
    return seen


def assert_same(ours, theirs):
    assert ours.keys() == theirs.keys()
    for key, tensors in ours.items():
        assert all(torch.equal(a, b) for a, b in zip(tensors, theirs[key], strict=True)), key


@pytest.mark.parametrize("kind", KINDS)
def test_images_and_targets_do_not_depend_on_the_batch_size_or_the_processes(monkeypatch, kind):
    whole = by_id(fake(**KINDS[kind]), epochs=2)
    assert len(whole) == 64
    assert_same(by_id(fake(**KINDS[kind], batch_size=5, drop_last=False), epochs=2), whole)
    shares = {}
    for rank in range(2):
        monkeypatch.setattr(epoch_order, "rank_and_world", lambda rank=rank: (rank, 2))
        share = by_id(fake(**KINDS[kind], batch_size=4), epochs=2)
        assert not share.keys() & shares.keys()
        shares |= share
    assert_same(shares, whole)


@pytest.mark.parametrize("kind", KINDS)
def test_seeds_and_epochs_differ_and_a_first_view_does_not_know_of_a_second(kind):
    first, second = by_id(fake(**KINDS[kind]), 2), by_id(fake(**KINDS[kind], seed=6), 2)
    ids = range(32)
    assert sum(torch.equal(first[0, i][0], first[1, i][0]) for i in ids) < 8
    assert sum(torch.equal(first[0, i][0], second[0, i][0]) for i in ids) < 8
    two = by_id(fake(**KINDS[kind], views=2), 2)
    assert_same({key: (views[0], target) for key, (*views, target) in two.items()}, first)


@pytest.mark.parametrize("kind", KINDS)
def test_views_come_round_and_the_order_does_not(kind):
    data = fake(**KINDS[kind], view_cycle=2)
    seen, endless = by_id(data, 5), by_id(fake(**KINDS[kind]), 2)
    for epoch in range(5):
        for i in range(32):
            pairs = zip(seen[epoch, i], endless[epoch % 2, i], strict=True)
            assert all(torch.equal(one, other) for one, other in pairs)
    loader = data.train_dataloader()
    orders = [torch.cat([ids for _, _, ids in loader]).tolist() for _ in range(4)]
    assert orders == [epoch_order.epoch_order(32, 5, epoch).tolist() for epoch in range(4)]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("views", [1, 2])
def test_any_view_can_be_shown_again(kind, views):
    data = fake(**KINDS[kind], views=views, view_cycle=3)
    assert data.num_views == 3 * views
    loader = data.train_dataloader()
    for epoch in range(4):
        for images, _, ids in loader:
            shown = images if views == 2 else (images,)
            index = torch.cat([data.view_index(ids, epoch, view) for view in range(views)])
            assert index.tolist() == [epoch % 3 * views + v for v in range(views) for _ in ids]
            shuffled = torch.randperm(len(index), generator=torch.manual_seed(epoch))
            again = data.view_images(ids.repeat(views)[shuffled], index[shuffled])
            assert torch.equal(again, torch.cat(shown)[shuffled])


def test_crops_and_flips_are_few_without_a_cycle():
    data = fake(crop_padding=4, flip=True)
    assert data.num_views == 162
    loader = data.train_dataloader()
    for epoch in range(3):
        for image, _, ids in loader:
            index = data.view_index(ids, epoch)
            assert index.min() >= 0
            assert index.max() < 162
            again = data.view_images(ids, index)
            assert torch.equal(again, image)
            assert again.is_contiguous(memory_format=torch.channels_last)
    assert (fake().num_views, fake(crop_padding=1).num_views) == (1, 9)


def test_mixed_views_of_one_image_share_their_target_and_partner():
    data = fake(cutmix=1.0, views=2)
    for images, target, _ in data.train_dataloader():
        assert target.shape == (8, 10)
        assert torch.equal(*images)  # nothing else is on


@pytest.mark.parametrize("kind", ["jitter", "randaugment", "cutout", "mixup", "cutmix", "all"])
def test_endless_views_have_no_number(kind):
    data = fake(**KINDS[kind])
    assert data.num_views is None
    with pytest.raises(ConfigError, match=r"data.view_cycle=null: .*data.view_cycle=K"):
        data.view_index(torch.arange(3), 0)
    with pytest.raises(ConfigError, match=r"data.view_cycle=null"):
        data.view_images(torch.arange(3), torch.zeros(3, dtype=torch.int64))


def test_the_identity_names_the_seed_only_where_views_depend_on_it():
    crops = fake(crop_padding=4, flip=True).viewing.identity
    assert crops == fake(crop_padding=4, flip=True, seed=9, views=2).viewing.identity
    others = (
        {"view_cycle": 2},
        {"view_cycle": 2, "seed": 9},
        {"view_cycle": 3},
        {"view_cycle": 2, "views": 2},
        {"view_cycle": 2, "mixup": 0.2},
        {"crop_padding": 3},
        {"cutout": 1},
    )
    names = [fake(**({"crop_padding": 4, "flip": True} | o)).viewing.identity for o in others]
    assert len({crops, *names}) == 8


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"views": 0}, r"data.views=0"),
        ({"view_cycle": 0, "flip": True}, r"data.view_cycle=0"),
        ({"view_cycle": 2}, r"data.view_cycle=2: nothing is augmented"),
    ],
)
def test_what_cannot_be_is_refused(settings, message):
    with pytest.raises(ConfigError, match=message):
        fake(**settings)


def folder(root, workers=0, **settings):
    sizes = {"image_size": 12, "val_size": 6, "batch_size": 6, "num_workers": workers}
    data = ImageNet(str(root), num_classes=3, **(sizes | {"seed": 5} | settings))
    data.setup()
    return data


FOLDER = {name: KINDS["all"][name] for name in KINDS["all"] if "crop" not in name} | {"views": 2}


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return make_folder(tmp_path_factory.mktemp("images"), train=6, val=1)


def test_folders_show_the_same_with_workers_other_batches_and_more_processes(monkeypatch, root):
    whole = by_id(folder(root, **FOLDER), epochs=2)
    assert len(whole) == 24
    for settings in ({"workers": 2, "prefetch_factor": 3}, {"batch_size": 5, "drop_last": False}):
        assert_same(by_id(folder(root, **settings, **FOLDER), epochs=2), whole)
    shares = {}
    for rank in range(2):
        monkeypatch.setattr(epoch_order, "rank_and_world", lambda rank=rank: (rank, 2))
        shares |= by_id(folder(root, batch_size=3, **FOLDER), epochs=2)
    assert_same(shares, whole)


def test_folders_show_any_view_of_a_cycle_again(root):
    data = folder(root, **FOLDER, view_cycle=2)
    loader = data.train_dataloader()
    for epoch in range(3):
        for images, _, ids in loader:
            for view, shown in enumerate(images):
                again = data.view_images(ids, data.view_index(ids, epoch, view))
                assert torch.equal(again, shown)
    assert folder(root).num_views is None
