"""The distillation literature's ResNet-8x4 and ResNet-32x4 (Tian et al. 2020, arXiv:1910.10699).

Four times as wide as a CIFAR ResNet after a stem twice as wide, with projection shortcuts.
Parameters are named as in the paper's public checkpoints (RepDistiller), which load as they are.
"""

from torch import Tensor, nn

from potstill.models.build import check_stem, finish, initialise
from potstill.models.cifar_resnet import BasicBlock, blocks_per_level

STEM_WIDTH = 32
WIDTHS = (64, 128, 256)


class ResNetX4(nn.Module):
    """A 3x3 stem and three levels of `blocks` basic blocks, 64, 128 and 256 channels wide."""

    def __init__(self, blocks: int, num_classes: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, STEM_WIDTH, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(STEM_WIDTH)
        self.relu = nn.ReLU()
        self.layer1 = _level(STEM_WIDTH, WIDTHS[0], blocks, stride=1)
        self.layer2 = _level(WIDTHS[0], WIDTHS[1], blocks, stride=2)
        self.layer3 = _level(WIDTHS[1], WIDTHS[2], blocks, stride=2)
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(WIDTHS[2], num_classes)
        initialise(self)

    def forward(self, x: Tensor) -> Tensor:
        """Return logits (N, K) of images (N, 3, H, W)."""
        x = self.relu(self.bn1(self.conv1(x)))
        x = self.layer3(self.layer2(self.layer1(x)))
        return self.fc(self.avgpool(x).flatten(1))


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
    return finish(ResNetX4(blocks_per_level(depth), num_classes), weights)


def _level(in_channels: int, out_channels: int, blocks: int, stride: int) -> nn.Sequential:
    projection = nn.Sequential(
        nn.Conv2d(in_channels, out_channels, 1, stride, bias=False), nn.BatchNorm2d(out_channels)
    )
    first = BasicBlock(in_channels, out_channels, stride, projection)
    rest = [BasicBlock(out_channels, out_channels, 1, nn.Identity()) for _ in range(blocks - 1)]
    return nn.Sequential(first, *rest)
