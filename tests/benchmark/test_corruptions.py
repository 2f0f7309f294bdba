"""Corruptions against their formulas at severity 3 of ImageNet-C, and their independence."""

import io
import sys
import warnings

import numpy as np
import pytest
from PIL import Image

from potstill.benchmark.corruptions import TYPES, corrupt
from potstill.errors import ConfigError

IDS = np.array([7, 3, 11])
IMAGES = np.random.default_rng(0).integers(0, 256, (3, 32, 32, 3), dtype=np.uint8)


@pytest.fixture(scope="module", autouse=True)
def _library():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            import imagecorruptions  # noqa: F401
        except ImportError as error:
            pytest.skip(f"potstill[robust] is not installed: {error}")


def test_the_types_are_those_of_the_benchmark():
    from imagecorruptions import get_corruption_names

    assert list(TYPES) == get_corruption_names("common")


def test_contrast_by_its_formula():
    x = IMAGES / 255
    means = x.mean(axis=(1, 2), keepdims=True)
    expected = np.clip((x - means) * 0.2 + means, 0, 1) * 255
    np.testing.assert_array_equal(corrupt(IMAGES, "contrast", IDS), expected.astype(np.uint8))


def test_jpeg_is_that_of_pillow_at_quality_15():
    for image, found in zip(IMAGES, corrupt(IMAGES, "jpeg_compression", IDS), strict=True):
        file = io.BytesIO()
        Image.fromarray(image).save(file, "JPEG", quality=15)
        np.testing.assert_array_equal(found, np.asarray(Image.open(file)))


def test_noise_has_the_deviation_of_its_severity():
    grey = np.full((1, 128, 128, 3), 128, np.uint8)
    for severity, sigma in ((1, 0.08), (3, 0.18)):
        noise = corrupt(grey, "gaussian_noise", IDS[:1], severity) / 255 - 128 / 255
        assert noise.std() == pytest.approx(sigma, rel=0.02)


@pytest.mark.parametrize("name", TYPES)
def test_a_image_is_corrupted_the_same_in_any_batch(name):
    together = corrupt(IMAGES, name, IDS)
    alone = [corrupt(IMAGES[[k]], name, IDS[[k]])[0] for k in (2, 0, 1)]
    np.testing.assert_array_equal(together[[2, 0, 1]], alone)
    assert together.dtype == np.uint8
    assert (together != IMAGES).any(axis=(1, 2, 3)).all()


@pytest.mark.parametrize("name", ["gaussian_noise", "impulse_noise", "glass_blur"])
def test_each_image_has_its_own_draw(name):
    twice = corrupt(IMAGES[[0, 0]], name, np.array([0, 1]))
    assert (twice[0] != twice[1]).any()


def test_the_global_generator_is_left_alone():
    np.random.seed(5)
    expected = np.random.random(3)
    np.random.seed(5)
    corrupt(IMAGES, "shot_noise", IDS)
    np.testing.assert_array_equal(np.random.random(3), expected)


def test_small_images_and_a_missing_library(monkeypatch):
    with pytest.raises(ConfigError, match=r"--robust: images of 16 pixels.* for 32 or more"):
        corrupt(IMAGES[:, :16], "fog", IDS)
    monkeypatch.setitem(sys.modules, "imagecorruptions", None)
    with pytest.raises(ConfigError, match=r"--robust: needs imagecorruptions.*potstill\[robust\]"):
        corrupt(IMAGES, "fog", IDS)
