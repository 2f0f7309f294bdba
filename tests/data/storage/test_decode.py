"""Images of every kind against the array they were made from; damaged ones named."""

import numpy as np
import pytest
from PIL import Image

from potstill.data.storage.decode import read_image
from potstill.errors import DataError
from tests.support.image_folders import photograph

IMAGE = photograph(30, 40, seed=0)
GREY = np.repeat(IMAGE[..., :1], 3, axis=2)
KINDS = {  # name -> (image, what it should look like, greatest difference)
    "rgb.png": (Image.fromarray(IMAGE), IMAGE, 0),
    "rgb.bmp": (Image.fromarray(IMAGE), IMAGE, 0),
    "rgba.png": (Image.fromarray(IMAGE).convert("RGBA"), IMAGE, 0),
    "rgb.jpg": (Image.fromarray(IMAGE), IMAGE, 16),
    "cmyk.jpg": (Image.fromarray(IMAGE).convert("CMYK"), IMAGE, 16),
    "palette.png": (Image.fromarray(GREY[..., 0]).convert("P"), GREY, 0),
    "grey.png": (Image.fromarray(GREY[..., 0]), GREY, 0),
    "grey.jpg": (Image.fromarray(GREY[..., 0]), GREY, 12),
    "grey16.png": (Image.fromarray(GREY[..., 0].astype(np.uint16) * 256 + 99), GREY, 0),
}


def as_array(path):
    return read_image(path, 10_000).permute(1, 2, 0).numpy()


@pytest.mark.parametrize("name", KINDS)
def test_every_kind_becomes_rgb_bytes(tmp_path, name):
    image, expected, difference = KINDS[name]
    image.save(tmp_path / name, **({"quality": 95} if name.endswith("jpg") else {}))
    got = as_array(tmp_path / name)
    assert got.dtype == np.uint8
    assert np.abs(got.astype(int) - expected).max() <= difference


@pytest.mark.parametrize("suffix", ["jpg", "png", "webp"])
@pytest.mark.parametrize("share", [0, 0.3, 0.6, 0.9])
def test_a_truncated_file_is_named(tmp_path, suffix, share):
    path = tmp_path / f"cut.{suffix}"
    Image.fromarray(IMAGE).save(path)
    whole = path.read_bytes()
    path.write_bytes(whole[: int(share * len(whole))])
    with pytest.raises(DataError, match=f"file={path}: cannot be read as an image") as error:
        read_image(path, 10_000)
    assert "\n" not in str(error.value)


def test_a_web_page_is_no_image(tmp_path):
    path = tmp_path / "page.jpg"
    path.write_text("<html>404</html>")
    with pytest.raises(DataError, match=f"file={path}: cannot be read as an image"):
        read_image(path, 10_000)


@pytest.mark.parametrize("side", [101, 9_500, 14_000])  # the last two alarm Pillow itself
def test_a_bomb_is_refused_by_its_header(tmp_path, side):
    path = tmp_path / "bomb.png"
    Image.new("1", (side, side)).save(path)
    path.write_bytes(path.read_bytes()[:60])  # nothing is left to decode
    with pytest.raises(DataError, match=rf"file={path}: .*more than data.max_pixels=10000"):
        read_image(path, 10_000)
