"""Random parts against torchvision's RandomResizedCrop fed with the same numbers."""

import math

import numpy as np
import pytest
import torch
from torchvision.transforms import v2

from potstill.data.transforms.pipeline import Distort
from potstill.data.transforms.random_crop import CentreCrop, RandomCrop, crop_box
from potstill.errors import ConfigError
from tests.support.image_folders import photograph

SCALE, RATIO = (0.08, 1.0), (3 / 4, 4 / 3)


def torchvision_box(monkeypatch, height, width, scale, ratio, uniform):
    """Return the box torchvision draws when its random numbers come from `uniform`."""
    pairs, places = iter(uniform[:20]), iter(uniform[20:])
    monkeypatch.setattr(
        torch.Tensor,
        "uniform_",
        lambda self, low, high: self.fill_(low + (high - low) * next(pairs)),
    )
    monkeypatch.setattr(
        torch, "randint", lambda low, high, size: torch.tensor([int(next(places) * high)])
    )
    crop = v2.RandomResizedCrop(8, scale=scale, ratio=ratio)
    params = crop.make_params([torch.zeros(3, height, width)])
    monkeypatch.undo()
    return tuple(params[name] for name in ("top", "left", "height", "width"))


@pytest.mark.parametrize(
    ("size", "scale", "ratio"),
    [
        ((300, 400), SCALE, RATIO),
        ((31, 47), SCALE, RATIO),
        ((60, 20), (0.5, 1.0), RATIO),  # often without a fit: the middle is taken
        ((20, 90), (0.9, 1.0), (0.9, 1.1)),
    ],
)
def test_boxes_are_torchvisions(monkeypatch, size, scale, ratio):
    random = np.random.default_rng(0)
    for _ in range(60):
        uniform = random.random(22).tolist()
        expected = torchvision_box(monkeypatch, *size, scale, ratio, uniform)
        assert crop_box(*size, scale, ratio, uniform) == expected


def test_the_part_is_cut_resized_and_mirrored():
    image = torch.from_numpy(photograph(40, 60, seed=1)).permute(2, 0, 1)
    crop = RandomCrop(seed=2, image_size=16)
    mirrored = RandomCrop(seed=2, image_size=16, flip=False)
    turned = 0
    for sample_id in range(40):
        got, straight = crop(image, sample_id, 0), mirrored(image, sample_id, 0)
        assert got.shape == (3, 16, 16)
        assert torch.equal(got, straight) or torch.equal(got, straight.flip(-1))
        turned += not torch.equal(got, straight)
    assert 8 < turned < 32


def test_the_whole_image_resized_equals_torchvisions_resize():
    image = torch.from_numpy(photograph(40, 40, seed=1)).permute(2, 0, 1)
    whole = RandomCrop(0, 16, scale=(1.0, 1.0), ratio=(1.0, 1.0), flip=False)(image, 0, 0)
    assert torch.equal(whole, v2.functional.resize(image, [16, 16], antialias=True))


def test_colours_and_shapes_are_changed_after_the_crop():
    image = torch.from_numpy(photograph(40, 60, seed=1)).permute(2, 0, 1)
    distort = Distort(2, (0.4, 0.4, 0.4, 0.1), (2, 9), 4)
    for number in range(10):
        plain = RandomCrop(seed=2, image_size=16)(image, number, 3, 1)
        got = RandomCrop(seed=2, image_size=16, distort=distort)(image, number, 3, 1)
        assert torch.equal(got, distort(plain[None], torch.tensor([number]), 3, 1)[0])


def test_seed_epoch_id_and_view_each_matter():
    image = torch.from_numpy(photograph(40, 60, seed=1)).permute(2, 0, 1)
    crop = RandomCrop(seed=2, image_size=16)
    outputs = [
        crop(image, 0, 0),
        crop(image, 1, 0),
        crop(image, 0, 1),
        crop(image, 0, 0, view=1),
        RandomCrop(seed=3, image_size=16)(image, 0, 0),
    ]
    assert len({tuple(output.flatten().tolist()) for output in outputs}) == 5
    assert torch.equal(outputs[0], crop(image, 0, 0))


def test_area_and_shape_have_the_expected_distribution():
    crops = np.random.default_rng(0).random((4000, 22)).tolist()
    boxes = [crop_box(1000, 1000, (0.2, 0.4), RATIO, uniform) for uniform in crops]
    area = np.array([h * w / 1e6 for _, _, h, w in boxes])
    shape = np.array([math.log(w / h) for _, _, h, w in boxes])
    assert abs(area.mean() - 0.3) < 0.005
    assert abs(shape.mean()) < 0.015
    assert abs(shape.std() - 2 * math.log(4 / 3) / math.sqrt(12)) < 0.01


@pytest.mark.parametrize(("height", "width"), [(300, 400), (257, 130), (50, 40)])
def test_evaluation_equals_torchvisions_preset(height, width):
    image = torch.from_numpy(photograph(height, width, seed=3)).permute(2, 0, 1)
    preset = v2.Compose([v2.Resize(64, antialias=True), v2.CenterCrop(56)])
    assert torch.equal(CentreCrop(56, 0.875)(image), preset(image))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"scale": (0.5, 0.1)}, r"data.crop_scale=\[0.5, 0.1\]"),
        ({"scale": (0.5, 1.5)}, "above the whole"),
        ({"ratio": (0.0, 1.0)}, "data.crop_ratio="),
        ({"ratio": (1.0,)}, "data.crop_ratio="),
    ],
)
def test_impossible_ranges_are_refused(settings, message):
    with pytest.raises(ConfigError, match=message):
        RandomCrop(0, 16, **settings)


@pytest.mark.parametrize("ratio", [0.0, 1.1])
def test_an_impossible_share_of_the_side_is_refused(ratio):
    with pytest.raises(ConfigError, match=r"data.eval_crop_ratio"):
        CentreCrop(16, ratio)
