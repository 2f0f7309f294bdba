"""Synthetic images for tests and benchmarks: noise around a pattern of the class."""

from typing import Any, ClassVar

import torch

from potstill.config.ranges import Ranges
from potstill.data.array_data import ArrayData
from potstill.data.loaders.in_memory import Images
from potstill.data.transforms.counted_rng import generator
from potstill.errors import ConfigError

_FAKE = 4  # keeps the images apart from other uses of the same seed


class Fake(ArrayData):
    """Images of any size and number, easy to learn: the class sets the mean of 4x4 tiles.

    Args:
        num_classes: K; labels go round, so that the classes are even.
        image_size: pixels.
        train_size: official training images, of which `val_size` go to validation.
        test_size: test images.
        noise: standard deviation of a pixel around its class's pattern, of 255.
        data_seed: makes the images; apart from `seed`, so that seeds share one data set.
        settings: see `ArrayData`.
    """

    ranges: ClassVar[Ranges] = {
        "train_size": "[num_classes, inf)",
        "test_size": "[num_classes, inf)",
        "noise": "[0, inf)",
        "data_seed": "[0, inf)",
    }

    num_classes: int

    def __init__(
        self,
        num_classes: int = 10,
        image_size: int = 32,
        train_size: int = 512,
        test_size: int = 128,
        noise: float = 40.0,
        data_seed: int = 0,
        **settings: Any,
    ) -> None:
        defaults = {"val_size": 128, "mean": (0.5, 0.5, 0.5), "std": (0.25, 0.25, 0.25)}
        super().__init__(num_classes=num_classes, image_size=image_size, **{**defaults, **settings})
        for name, size in (("train_size", train_size), ("test_size", test_size)):
            if size < num_classes:
                raise ConfigError(
                    f"data.{name}={size}: fewer than the {num_classes} classes. "
                    f"Fix: {num_classes} or more"
                )
        self.class_names = tuple(f"class{label}" for label in range(num_classes))
        self.train_size, self.test_size = train_size, test_size
        self.noise, self.data_seed = noise, data_seed

    def load(self) -> tuple[Images, Images]:
        """Return the (training, test) images."""
        return self._draw(self.train_size, part=0), self._draw(self.test_size, part=1)

    def _draw(self, count: int, part: int) -> Images:
        patterns = torch.rand(
            self.num_classes, 3, 4, 4, generator=generator(_FAKE, self.data_seed, 2)
        )
        means = torch.nn.functional.interpolate(64 + 128 * patterns, size=self.image_size)
        targets = torch.arange(count) % self.num_classes
        images = torch.randn(
            count, *self.image_shape, generator=generator(_FAKE, self.data_seed, part)
        )
        images = means[targets] + self.noise * images
        return Images(images.clamp_(0, 255).to(torch.uint8), targets)
