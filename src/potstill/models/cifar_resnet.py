"""ResNets for CIFAR: the paper's, and the wider ones of the distillation literature.

The paper's have shortcuts without parameters (He et al. 2015, arXiv:1512.03385, section 4.2).
ResNet-8x4 and ResNet-32x4 (Tian et al. 2020, arXiv:1910.10699) are four times as wide after a stem
twice as wide, with projection shortcuts; their parameters are named as in the paper's public
checkpoints (RepDistiller), which load as they are.
"""

from collections.abc import Callable

import torch.nn.functional as F
from torch import Tensor, nn

from potstill.errors import ConfigError
from potstill.models.build import BUILDER_RANGES, check_stem, finish, initialise

WIDTHS = (16, 16, 32, 64)  # of the stem and the three levels
WIDTHS_X4 = (32, 64, 128, 256)
Shortcut = Callable[[int, int, int], nn.Module]  # channels in, channels out, stride


RANGES = {**BUILDER_RANGES, "depth": "[8, inf)"}


class OptionA(nn.Module):
    """The paper's shortcut without parameters: every second pixel, new channels all zero."""

    def __init__(self, in_channels: int, out_channels: int, stride: int) -> None:
        super().__init__()
        self.stride = stride
        self.before = (out_channels - in_channels) // 2
        self.after = out_channels - in_channels - self.before

    def forward(self, x: Tensor) -> Tensor:
        """Return (N, C_out, H / stride, W / stride) from (N, C_in, H, W)."""
        return F.pad(x[:, :, :: self.stride, :: self.stride], (0, 0, 0, 0, self.before, self.after))


class BasicBlock(nn.Module):
    """Two 3x3 convolutions and a shortcut; `relu2` sees the block's pre-activation."""

    def __init__(
        self, in_channels: int, out_channels: int, stride: int, downsample: nn.Module
    ) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, out_channels, 3, stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(out_channels)
        self.relu1 = nn.ReLU()
        self.conv2 = nn.Conv2d(out_channels, out_channels, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(out_channels)
        self.downsample = downsample
        self.relu2 = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        """Return (N, C_out, H / stride, W / stride)."""
        out = self.relu1(self.bn1(self.conv1(x)))
        out = self.bn2(self.conv2(out))
        return self.relu2(out + self.downsample(x))


class CifarResNet(nn.Module):
    """A 3x3 stem and three levels of `blocks` basic blocks.

    Args:
        blocks: of each level.
        num_classes: K.
        widths: channels of the stem and of the three levels.
        shortcut: makes that of a level's first block.
        classifier: the name of the last layer.
    """

    def __init__(
        self,
        blocks: int,
        num_classes: int,
        widths: tuple[int, int, int, int],
        shortcut: Shortcut,
        classifier: str,
    ) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, widths[0], 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(widths[0])
        self.relu = nn.ReLU()
        self.layer1 = _level(widths[0], widths[1], blocks, 1, shortcut)
        self.layer2 = _level(widths[1], widths[2], blocks, 2, shortcut)
        self.layer3 = _level(widths[2], widths[3], blocks, 2, shortcut)
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.classifier = classifier
        self.add_module(classifier, nn.Linear(widths[3], num_classes))
        initialise(self)

    def forward(self, x: Tensor) -> Tensor:
        """Return logits (N, K) of images (N, 3, H, W)."""
        x = self.relu(self.bn1(self.conv1(x)))
        x = self.layer3(self.layer2(self.layer1(x)))
        return getattr(self, self.classifier)(self.avgpool(x).flatten(1))


def cifar_resnet(
    depth: int,
    num_classes: int,
    stem: str = "auto",
    image_size: int = 32,
    weights: str | None = None,
) -> nn.Module:
    """Return the ResNet of `depth` = 6n + 2 layers: 20, 32, 44, 56 and 110 in the paper.

    Its one stem is the CIFAR one; it takes images of any size.

    Raises:
        ConfigError: if `depth` is not 6n + 2, or `stem` is "imagenet".
        DataError: if `weights` is missing, damaged or does not fit.
    """
    check_stem(stem, "a CIFAR ResNet", ("auto", "cifar"))
    blocks = blocks_per_level(depth)
    return finish(CifarResNet(blocks, num_classes, WIDTHS, _option_a, "linear"), weights)


def cifar_resnet_x4(
    depth: int,
    num_classes: int,
    stem: str = "auto",
    image_size: int = 32,
    weights: str | None = None,
) -> nn.Module:
    """Return the four times wider ResNet of `depth` = 6n + 2 layers: 8 and 32 in the papers.

    Its one stem is the CIFAR one; it takes images of any size.

    Raises:
        ConfigError: if `depth` is not 6n + 2, or `stem` is "imagenet".
        DataError: if `weights` is missing, damaged or does not fit.
    """
    check_stem(stem, "a CIFAR ResNet", ("auto", "cifar"))
    blocks = blocks_per_level(depth)
    return finish(CifarResNet(blocks, num_classes, WIDTHS_X4, _projection, "fc"), weights)


def blocks_per_level(depth: int) -> int:
    """Return n for three levels of n two-layer blocks, a stem and a classifier: 6n + 2.

    Example:
        >>> blocks_per_level(20)
        3
    """
    if depth < 8 or (depth - 2) % 6:
        raise ConfigError(f"depth={depth}: not 6n + 2. Fix: depth=8|14|20|32|44|56|110")
    return (depth - 2) // 6


def _level(
    in_channels: int, out_channels: int, blocks: int, stride: int, shortcut: Shortcut
) -> nn.Sequential:
    joined = shortcut(in_channels, out_channels, stride)
    first = BasicBlock(in_channels, out_channels, stride, joined)
    rest = [BasicBlock(out_channels, out_channels, 1, nn.Identity()) for _ in range(blocks - 1)]
    return nn.Sequential(first, *rest)


def _option_a(in_channels: int, out_channels: int, stride: int) -> nn.Module:
    same = in_channels == out_channels and stride == 1
    return nn.Identity() if same else OptionA(in_channels, out_channels, stride)


def _projection(in_channels: int, out_channels: int, stride: int) -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(in_channels, out_channels, 1, stride, bias=False), nn.BatchNorm2d(out_channels)
    )
