"""Batched crops and flips against torchvision's image-by-image functions."""

import pytest
import torch
from torchvision.transforms.v2 import functional as TF

from potstill.data.transforms.crop_flip import Augment, crop
from potstill.data.transforms.pipeline import Distort
from potstill.errors import ConfigError

IDS = torch.arange(64)


@pytest.fixture(scope="module")
def images():
    size = (64, 3, 10, 12)
    return torch.randint(0, 256, size, dtype=torch.uint8, generator=torch.manual_seed(0))


@pytest.mark.parametrize("padding", [1, 4])
def test_crop_equals_torchvisions_crop_of_the_padded_image(images, padding):
    top, left = torch.randint(2 * padding + 1, (2, 64), generator=torch.manual_seed(1))
    got = crop(images, padding, top, left)
    for image, row, column, out in zip(images, top.tolist(), left.tolist(), got, strict=True):
        assert torch.equal(out, TF.crop(TF.pad(image, padding), row, column, 10, 12))


def test_crop_reaches_every_place_and_no_further(images):
    first, last = crop(images[:2], 2, torch.tensor([0, 4]), torch.tensor([0, 4]))
    assert torch.equal(first[:, 2:, 2:], images[0, :, :-2, :-2])
    assert torch.equal(last[:, :-2, :-2], images[1, :, 2:, 2:])
    assert not first[:, :2].any()
    assert not last[:, -2:].any()


@pytest.mark.parametrize(
    ("padding", "flip", "count"), [(4, True, 162), (2, False, 25), (0, True, 2), (0, False, 1)]
)
def test_outcomes_number_every_crop_and_flip(images, padding, flip, count):
    augment = Augment(3, padding, flip)
    assert augment.num_outcomes == count
    got = augment.render(images[:1].expand(count, -1, -1, -1), torch.arange(count))
    padded, places = TF.pad(images[0], padding), 2 * padding + 1
    expected = [
        TF.horizontal_flip(part) if mirrored else part
        for row in range(places)
        for column in range(places)
        for part in [TF.crop(padded, row, column, 10, 12)]
        for mirrored in ((False, True) if flip else (False,))
    ]
    assert torch.equal(got, torch.stack(expected))


@pytest.mark.parametrize("view", [0, 1])
def test_a_image_in_an_epoch_is_the_outcome_drawn_for_it(images, view):
    augment = Augment(3, 2, True)
    outcome = augment.outcome(IDS, 5, view)
    assert torch.equal(augment(images, IDS, 5, view), augment.render(images, outcome))


def test_all_outcomes_are_drawn_alike():
    outcome = Augment(3, 1, True).outcome(torch.arange(18_000), 0)
    counts = outcome.bincount(minlength=18)
    assert len(counts) == 18
    assert ((counts - 1000) ** 2 / 1000).sum() < 50  # chi2(17): beyond 1e-4


FULL = Augment(3, 2, True, Distort(3, (0.4, 0.4, 0.4, 0.1), (2, 9), 4))


def test_a_batch_of_64_equals_two_of_32_in_another_order(images):
    ids = IDS + 1000
    whole = FULL(images, ids, epoch=5)
    back = torch.arange(63, -1, -1)
    halves = [FULL(images[part], ids[part], epoch=5) for part in back.split(32)]
    assert torch.equal(whole, torch.cat(halves)[back])


def test_seed_epoch_id_and_view_each_matter(images):
    augment = Augment(3, 2, True)
    others = [
        augment(images, IDS, 1),
        augment(images, IDS, 0, view=1),
        augment(images, IDS + 1, 0),
        Augment(4, 2, True)(images, IDS, 0),
    ]
    first = augment(images, IDS, 0)
    assert torch.equal(first, augment(images, IDS, 0))
    assert all((first != other).flatten(1).any(1).sum() > 55 for other in others)


def test_one_augmentation_does_not_move_another(images):
    cropped = Augment(3, crop_padding=2)(images, IDS, 0)
    both = Augment(3, crop_padding=2, flip=True)(images, IDS, 0)
    same = (both == cropped).flatten(1).all(1)
    mirrored = (both == cropped.flip(-1)).flatten(1).all(1)
    assert (same | mirrored).all()
    assert 10 < mirrored.sum() < 54
    assert torch.equal(FULL(images, IDS, 0), FULL.distort(both, IDS, 0))


def test_nothing_on_changes_nothing(images):
    assert Augment(seed=0)(images, IDS, 0) is images


def test_endless_augmentation_has_no_count():
    assert FULL.num_outcomes is None


def test_negative_padding_is_refused():
    with pytest.raises(ConfigError, match=r"data.crop_padding=-1"):
        Augment(0, crop_padding=-1)
