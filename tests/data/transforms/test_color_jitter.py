"""Batched colour jitter against torchvision's image-by-image functions."""

import pytest
import torch
from torchvision.transforms import v2
from torchvision.transforms.v2 import functional as TF

from potstill.data.transforms import color_jitter as module
from potstill.data.transforms.color_jitter import check_strengths, color_jitter, jitter_factors
from potstill.errors import ConfigError

THEIRS = (TF.adjust_brightness, TF.adjust_contrast, TF.adjust_saturation, TF.adjust_hue)
STRENGTHS = (0.8, 0.6, 1.5, 0.5)


@pytest.fixture(scope="module")
def images():
    generator = torch.manual_seed(0)
    noise = torch.randint(0, 256, (40, 3, 9, 11), dtype=torch.uint8, generator=generator)
    noise[:4] = noise[:4, :1]  # grey
    noise[4], noise[5] = 0, 255
    noise[6:12] //= 128  # a few dark colours, many ties between channels
    return noise


@pytest.fixture(scope="module")
def uniform():
    return torch.rand(40, 8, generator=torch.manual_seed(1))


def assert_bytes_close(ours, theirs, share):
    """Assert that bytes differ by one step at most, and a `share` of them at most at all."""
    apart = (ours.int() - theirs.int()).abs()
    assert apart.max() <= 1
    assert (apart > 0).float().mean() <= share


@pytest.mark.parametrize(
    ("name", "theirs", "low", "high", "share"),
    [
        ("brightness", TF.adjust_brightness, 0.2, 1.8, 0.0),
        ("contrast", TF.adjust_contrast, 0.0, 2.0, 1e-3),
        ("saturation", TF.adjust_saturation, 0.0, 2.0, 1e-3),
        ("hue", TF.adjust_hue, -0.5, 0.5, 0.01),
    ],
)
def test_each_change_equals_torchvisions(images, uniform, name, theirs, low, high, share):
    factor = low + (high - low) * uniform[:, 0]
    got = getattr(module, name)(images, factor.view(-1, 1, 1, 1))
    expected = [theirs(image, f) for image, f in zip(images, factor.tolist(), strict=True)]
    assert_bytes_close(got, torch.stack(expected), share)


@pytest.mark.parametrize("strengths", [STRENGTHS, (0.4, 0.0, 0.0, 0.1), (0.0, 0.0, 0.3, 0.0)])
def test_every_image_gets_its_own_changes_in_its_own_order(images, uniform, strengths):
    before = images.clone()
    got = color_jitter(images, strengths, uniform)
    assert torch.equal(images, before)
    for image, row, out in zip(images, uniform.tolist(), got, strict=True):
        for number in sorted(range(4), key=row[:4].__getitem__):
            s, u = strengths[number], row[4 + number]
            low, high = (-s, s) if number == 3 else (max(0.0, 1 - s), 1 + s)
            if s:
                image = THEIRS[number](image, low + (high - low) * u)
        # A step of one in an early change may be stretched by the later ones.
        assert (out.int() - image.int()).abs().max() <= 4
        assert (out != image).float().mean() < 0.02


def test_the_ranges_are_those_of_torchvisions_color_jitter():
    theirs = v2.ColorJitter(*STRENGTHS)
    ends = jitter_factors(STRENGTHS, torch.tensor([[0.0] * 4, [1.0] * 4]))
    ranges = (theirs.brightness, theirs.contrast, theirs.saturation, theirs.hue)
    torch.testing.assert_close(ends.T, torch.tensor(ranges))


def test_all_orders_occur_alike():
    uniform = torch.rand(24_000, 8, generator=torch.manual_seed(2))
    orders = uniform[:, :4].argsort(1)
    counts = torch.unique(orders, dim=0, return_counts=True)[1]
    assert len(counts) == 24
    assert ((counts - 1000) ** 2 / 1000).sum() < 60  # chi2(23): beyond 1e-4


@pytest.mark.parametrize(
    "strengths",
    [(0.4, 0.4, 0.4), (0.4, 0.4, 0.4, 0.6), (-0.1, 0, 0, 0), (0, 0, 0, 0), (float("nan"), 0, 0, 0)],
)
def test_impossible_strengths_are_refused(strengths):
    with pytest.raises(ConfigError, match=r"data.color_jitter=\["):
        check_strengths(strengths)
