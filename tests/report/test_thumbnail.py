"""A small copy of an image is the image."""

import base64
import io

import numpy as np
import torch
from matplotlib.image import imread

from potstill.report.thumbnail import SIDE, data_uri


def read(uri):
    return imread(io.BytesIO(base64.b64decode(uri.removeprefix("data:image/png;base64,"))))


def test_a_small_image_is_kept_pixel_by_pixel():
    image = torch.rand(3, 5, 7, generator=torch.Generator().manual_seed(0))
    shown = read(data_uri(image))[..., :3]
    np.testing.assert_allclose(shown, image.permute(1, 2, 0).numpy(), atol=0.51 / 255)


def test_a_large_image_is_made_small_and_clamped():
    image = torch.full((3, 300, 150), 0.25)
    image[0] = 1.5
    shown = read(data_uri(image))
    assert shown.shape[:2] == (SIDE, SIDE // 2)
    np.testing.assert_allclose(shown[20, 20, :3], [1.0, 0.25, 0.25], atol=0.51 / 255)
