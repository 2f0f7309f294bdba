"""The two-convolution networks of knowledge distillation tutorials, for small images."""

from collections import OrderedDict
from collections.abc import Sequence

from torch import nn

from potstill.models.build import BUILDER_RANGES, check_stem, finish

RANGES = {
    **BUILDER_RANGES,
    "image_size": "[4, inf)",
    "channels": ["[1, inf)", "[1, inf)"],
    "hidden": "[1, inf)",
}


class SmallCNN(nn.Sequential):
    """Two times 3x3 convolution, ReLU and 2x2 max pooling, then two fully connected layers."""

    def __init__(
        self, num_classes: int, image_size: int, channels: Sequence[int], hidden: int
    ) -> None:
        first, second = channels
        layers: dict[str, nn.Module] = {
            "conv1": nn.Conv2d(3, first, 3, padding=1),
            "relu1": nn.ReLU(),
            "pool1": nn.MaxPool2d(2),
            "conv2": nn.Conv2d(first, second, 3, padding=1),
            "relu2": nn.ReLU(),
            "pool2": nn.MaxPool2d(2),
            "flatten": nn.Flatten(),
            "fc1": nn.Linear(second * (image_size // 4) ** 2, hidden),
            "relu3": nn.ReLU(),
            "fc2": nn.Linear(hidden, num_classes),
        }
        super().__init__(OrderedDict(layers))


def small_cnn(
    num_classes: int,
    stem: str = "auto",
    image_size: int = 32,
    weights: str | None = None,
    channels: Sequence[int] = (32, 64),
    hidden: int = 512,
) -> nn.Module:
    """Return a small CNN for square images of `image_size` pixels and no other size.

    Raises:
        ConfigError: if `stem` is not "auto".
        DataError: if `weights` is missing, damaged or does not fit.
    """
    check_stem(stem, "a small CNN")
    return finish(SmallCNN(num_classes, image_size, channels, hidden), weights)
