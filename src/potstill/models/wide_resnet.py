"""Wide residual networks for CIFAR (Zagoruyko & Komodakis 2016, arXiv:1605.07146).

Parameters are named as in the distillation literature's public checkpoints (RepDistiller).
"""

from torch import Tensor, nn

from potstill.errors import ConfigError
from potstill.models.build import BUILDER_RANGES, check_stem, finish, initialise

STEM_WIDTH = 16


RANGES = {**BUILDER_RANGES, "depth": "[10, inf)", "width": "[1, inf)", "dropout": "[0, 1)"}


class PreActBlock(nn.Module):
    """Normalise, activate, convolve, twice; a change of width projects the activated input."""

    def __init__(self, in_channels: int, out_channels: int, stride: int, dropout: float) -> None:
        super().__init__()
        self.bn1 = nn.BatchNorm2d(in_channels)
        self.relu1 = nn.ReLU()
        self.conv1 = nn.Conv2d(in_channels, out_channels, 3, stride, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(out_channels)
        self.relu2 = nn.ReLU()
        self.dropout = nn.Dropout(dropout)
        self.conv2 = nn.Conv2d(out_channels, out_channels, 3, padding=1, bias=False)
        self.convShortcut = None
        if in_channels != out_channels:
            self.convShortcut = nn.Conv2d(in_channels, out_channels, 1, stride, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Return (N, C_out, H / stride, W / stride), not activated."""
        activated = self.relu1(self.bn1(x))
        shortcut = x if self.convShortcut is None else self.convShortcut(activated)
        out = self.relu2(self.bn2(self.conv1(activated)))
        return shortcut + self.conv2(self.dropout(out))


class BlockGroup(nn.Module):
    """Blocks of one width; `layer` holds them."""

    def __init__(
        self, blocks: int, in_channels: int, out_channels: int, stride: int, dropout: float
    ) -> None:
        super().__init__()
        first = PreActBlock(in_channels, out_channels, stride, dropout)
        rest = [PreActBlock(out_channels, out_channels, 1, dropout) for _ in range(blocks - 1)]
        self.layer = nn.Sequential(first, *rest)

    def forward(self, x: Tensor) -> Tensor:
        """Return (N, C_out, H / stride, W / stride), not activated."""
        return self.layer(x)


class WideResNet(nn.Module):
    """A 3x3 stem and three groups of `blocks` blocks, 16, 32 and 64 times `width` wide."""

    def __init__(self, blocks: int, width: int, num_classes: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, STEM_WIDTH, 3, padding=1, bias=False)
        self.block1 = BlockGroup(blocks, STEM_WIDTH, 16 * width, 1, dropout)
        self.block2 = BlockGroup(blocks, 16 * width, 32 * width, 2, dropout)
        self.block3 = BlockGroup(blocks, 32 * width, 64 * width, 2, dropout)
        self.bn1 = nn.BatchNorm2d(64 * width)
        self.relu = nn.ReLU()
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(64 * width, num_classes)
        initialise(self)
        nn.init.zeros_(self.fc.bias)

    def forward(self, x: Tensor) -> Tensor:
        """Return logits (N, K) of images (N, 3, H, W)."""
        x = self.block3(self.block2(self.block1(self.conv1(x))))
        x = self.relu(self.bn1(x))
        return self.fc(self.avgpool(x).flatten(1))


def wide_resnet(
    depth: int,
    width: int,
    num_classes: int,
    stem: str = "auto",
    image_size: int = 32,
    weights: str | None = None,
    dropout: float = 0.0,
) -> nn.Module:
    """Return WRN-`depth`-`width`, with `dropout` inside the blocks (section 2.4 of the paper).

    Its one stem is the CIFAR one; it takes images of any size.

    Raises:
        ConfigError: if `depth` is not 6n + 4, or `stem` is "imagenet".
        DataError: if `weights` is missing, damaged or does not fit.
    """
    check_stem(stem, "a wide ResNet", ("auto", "cifar"))
    if depth < 10 or (depth - 4) % 6:
        raise ConfigError(f"depth={depth}: not 6n + 4. Fix: depth=10|16|22|28|40")
    return finish(WideResNet((depth - 4) // 6, width, num_classes, dropout), weights)
