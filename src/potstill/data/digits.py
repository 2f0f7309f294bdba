"""Scikit-learn's handwritten digits: real images that need no download."""

from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from sklearn.datasets import load_digits
from torch import Tensor

from potstill.config.ranges import Ranges
from potstill.data.array_data import ArrayData
from potstill.data.loaders.in_memory import Images
from potstill.data.loaders.split import split_ids
from potstill.errors import ConfigError

TEST_SIZE = 360  # 20 % of the 1,797, the same whatever the seeds


class Digits(ArrayData):
    """The 1,797 digits of 8x8 pixels (Alpaydin and Kaynak 1998), enlarged, three equal channels.

    The test images never change; validation images are taken from the rest.

    Args:
        num_classes: 10.
        image_size: pixels to which the 8x8 images are enlarged, bilinearly.
        flip: refused: a mirrored digit is no digit.
        color_jitter: without saturation and hue, which grey images do not have.
        settings: see `ArrayData`.
    """

    ranges: ClassVar[Ranges] = {"num_classes": (10,), "flip": (False,)}

    class_names = tuple("0123456789")

    def __init__(
        self, num_classes: int = 10, image_size: int = 32, flip: bool = False, **settings: Any
    ) -> None:
        if flip:
            raise ConfigError("data.flip=true: a mirrored digit is no digit. Fix: data.flip=false")
        if num_classes != 10:
            raise ConfigError(f"data.num_classes={num_classes}: there are 10 digits. Fix: 10")
        defaults = {"val_size": 180, "mean": (0.5, 0.5, 0.5), "std": (0.5, 0.5, 0.5)}
        super().__init__(num_classes=num_classes, image_size=image_size, **{**defaults, **settings})
        jitter = self.distort and self.distort.color_jitter
        if jitter and any(jitter[2:]):
            raise ConfigError(
                f"data.color_jitter={list(jitter)}: grey digits have no saturation and no hue. "
                f"Fix: data.color_jitter=[{jitter[0]},{jitter[1]},0,0]"
            )

    def load(self) -> tuple[Images, Images]:
        """Return the (training, test) digits."""
        grey, labels = load_digits(return_X_y=True)  # (1797, 64), 0 .. 16
        images = Images(
            _enlarge(torch.from_numpy(grey).float().view(-1, 1, 8, 8), self.image_size),
            torch.from_numpy(labels).long(),
        )
        train_ids, test_ids = split_ids(images.targets, TEST_SIZE, seed=0)
        return images[train_ids], images[test_ids]


def _enlarge(grey: Tensor, size: int) -> Tensor:
    """Return (N, 3, size, size) bytes of images (N, 1, 8, 8) between 0 and 16."""
    large = F.interpolate(grey * (255 / 16), size=size, mode="bilinear", align_corners=False)
    return large.round().to(torch.uint8).expand(-1, 3, -1, -1).contiguous()
