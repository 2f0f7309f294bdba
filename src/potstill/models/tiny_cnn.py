"""A three-convolution network that trains in seconds: for tests, examples and smoke runs."""

from collections import OrderedDict

from torch import nn

from potstill.models.build import BUILDER_RANGES, check_stem, finish, initialise

RANGES = {**BUILDER_RANGES, "width": "[1, inf)"}


class TinyCNN(nn.Sequential):
    """Three times convolution, batch norm and ReLU (strides 1, 2, 2), then the mean and a layer."""

    def __init__(self, num_classes: int, width: int) -> None:
        layers: dict[str, nn.Module] = {}
        in_channels = 3
        for i, stride in enumerate((1, 2, 2), start=1):
            out_channels = width * 2 ** (i - 1)
            layers[f"conv{i}"] = nn.Conv2d(in_channels, out_channels, 3, stride, 1, bias=False)
            layers[f"bn{i}"] = nn.BatchNorm2d(out_channels)
            layers[f"relu{i}"] = nn.ReLU()
            in_channels = out_channels
        layers["avgpool"] = nn.AdaptiveAvgPool2d(1)
        layers["flatten"] = nn.Flatten()
        layers["linear"] = nn.Linear(in_channels, num_classes)
        super().__init__(OrderedDict(layers))
        initialise(self)


def tiny_cnn(
    num_classes: int,
    stem: str = "auto",
    image_size: int = 32,
    weights: str | None = None,
    width: int = 8,
) -> nn.Module:
    """Return the network with `width`, 2 `width` and 4 `width` channels; any image size.

    Raises:
        ConfigError: if `stem` is not "auto".
        DataError: if `weights` is missing, damaged or does not fit.
    """
    check_stem(stem, "a tiny CNN")
    return finish(TinyCNN(num_classes, width), weights)
