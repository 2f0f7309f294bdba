"""What follows crop and flip: cutout against torchvision, and draws that are counted."""

import pytest
import torch
from torchvision.transforms.v2 import functional as TF

from potstill.data.transforms.pipeline import Distort, cutout, numbers
from potstill.errors import ConfigError

KINDS = {
    "jitter": {"color_jitter": (0.4, 0.4, 0.4, 0.1)},
    "randaugment": {"randaugment": (2, 9)},
    "cutout": {"cutout": 4},
}


@pytest.fixture(scope="module")
def images():
    size = (64, 3, 10, 12)
    return torch.randint(0, 256, size, dtype=torch.uint8, generator=torch.manual_seed(0))


@pytest.mark.parametrize("size", [3, 4])
def test_cutout_equals_torchvisions_erase(images, size):
    uniform = torch.rand(64, 2, generator=torch.manual_seed(1))
    got = cutout(images, size, uniform)
    for image, (row, column), out in zip(images, uniform.tolist(), got, strict=True):
        top, left = int(row * 10) - size // 2, int(column * 12) - size // 2
        height, width = min(top + size, 10) - max(top, 0), min(left + size, 12) - max(left, 0)
        black = torch.zeros((), dtype=torch.uint8)
        assert torch.equal(out, TF.erase(image, max(top, 0), max(left, 0), height, width, black))


@pytest.mark.parametrize("kind", KINDS)
def test_a_batch_of_64_equals_two_of_32_in_another_order_and_each_alone(images, kind):
    distort, ids = Distort(3, **KINDS[kind]), torch.arange(1000, 1064)
    whole = distort(images, ids, epoch=5)
    back = torch.arange(63, -1, -1)
    for size in (32, 1):
        parts = [distort(images[part], ids[part], epoch=5) for part in back.split(size)]
        assert torch.equal(whole, torch.cat(parts)[back])


@pytest.mark.parametrize("kind", KINDS)
def test_seed_epoch_id_and_view_each_matter(images, kind):
    ids, distort = torch.arange(64), Distort(3, **KINDS[kind])
    others = [
        distort(images, ids, 1),
        distort(images, ids, 0, view=1),
        distort(images, ids + 1, 0),
        Distort(4, **KINDS[kind])(images, ids, 0),
    ]
    first = distort(images, ids, 0)
    assert torch.equal(first, distort(images, ids, 0))
    assert all((first != other).flatten(1).any(1).sum() > 50 for other in others)


def test_one_kind_does_not_move_another(images):
    ids = torch.arange(64)
    both = Distort(3, **KINDS["jitter"], **KINDS["cutout"])(images, ids, 0)
    jittered = Distort(3, **KINDS["jitter"])(images, ids, 0)
    assert torch.equal(both, Distort(3, **KINDS["cutout"])(jittered, ids, 0))


def test_nothing_on_changes_nothing(images):
    off = Distort(0)
    assert not off.on
    assert off(images, torch.arange(64), 0) is images
    assert all(Distort(0, **settings).on for settings in KINDS.values())


def test_negative_cutout_is_refused():
    with pytest.raises(ConfigError, match=r"data.cutout=-1"):
        Distort(0, cutout=-1)


def test_lists_from_the_configuration_become_tuples():
    assert (numbers(None), numbers([2, 9]), numbers(0.4)) == (None, (2, 9), (0.4,))
