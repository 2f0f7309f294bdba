"""Networks of one operator each, between layers that int8 always reaches."""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

CHANNELS, SIDE, CLASSES = 8, 16, 5
Forward = Callable[[Tensor], Tensor]


class Around(nn.Module):
    """A convolution, the operator, another convolution, and a classifier."""

    def __init__(self, operator: nn.Module, channels: int = CHANNELS) -> None:
        super().__init__()
        self.first, self.operator = nn.Conv2d(3, CHANNELS, 3, padding=1), operator
        self.second = nn.Conv2d(channels, CHANNELS, 3, padding=1)
        self.last = nn.Linear(CHANNELS, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        """Return logits (N, K)."""
        return self.last(self.second(self.operator(self.first(x))).mean((2, 3)))


class Tokens(nn.Module):
    """Patches as tokens (N, L, C), the operator, and a classifier."""

    def __init__(self, operator: nn.Module) -> None:
        super().__init__()
        self.first, self.operator = nn.Conv2d(3, CHANNELS, 4, stride=4), operator
        self.second, self.last = nn.Linear(CHANNELS, CHANNELS), nn.Linear(CHANNELS, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        """Return logits (N, K)."""
        tokens = self.first(x).flatten(2).transpose(1, 2)
        maps = self.second(self.operator(tokens)).transpose(1, 2).unflatten(2, (SIDE // 4,) * 2)
        return self.last(maps.mean((2, 3)))


class Function(nn.Module):
    """A function as a module."""

    def __init__(self, function: Forward) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: Tensor) -> Tensor:
        """Return the function of x."""
        return self.function(x)


class Attention(nn.Module):
    """Self-attention of one head, softmax and products spelled or as torch's own function."""

    def __init__(self, spelled: bool) -> None:
        super().__init__()
        self.spelled = spelled
        self.queries, self.keys = nn.Linear(CHANNELS, CHANNELS), nn.Linear(CHANNELS, CHANNELS)
        self.values = nn.Linear(CHANNELS, CHANNELS)

    def forward(self, x: Tensor) -> Tensor:
        """Return tokens (N, L, C)."""
        q, k, v = self.queries(x), self.keys(x), self.values(x)
        if self.spelled:
            return ((q @ k.transpose(-2, -1)) * CHANNELS**-0.5).softmax(-1) @ v
        return F.scaled_dot_product_attention(q, k, v)


class Lines(nn.Module):
    """A 1-d convolution over the pixels of each map, read row by row."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv1d(CHANNELS, CHANNELS, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """Return (N, C, H, W)."""
        return self.conv(x.flatten(2)).unflatten(2, (SIDE, SIDE))


class Volumes(nn.Module):
    """A 3-d convolution, channels taken for depth."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv3d(1, 1, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """Return (N, C, H, W)."""
        return self.conv(x.unsqueeze(1)).squeeze(1)


class Halves(nn.Module):
    """Two halves of the channels, joined."""

    def __init__(self, join: Callable[[Tensor, Tensor], Tensor]) -> None:
        super().__init__()
        self.join = join
        self.left, self.right = (nn.Conv2d(CHANNELS, CHANNELS, 1) for _ in range(2))

    def forward(self, x: Tensor) -> Tensor:
        """Return what the join makes of two convolutions of x."""
        return self.join(self.left(x), self.right(x))


class Excite(nn.Module):
    """Squeeze and excite."""

    def __init__(self, gate: nn.Module) -> None:
        super().__init__()
        self.squeeze, self.conv, self.gate = (
            nn.AdaptiveAvgPool2d(1), nn.Conv2d(CHANNELS, CHANNELS, 1), gate
        )  # fmt: skip

    def forward(self, x: Tensor) -> Tensor:
        """Return x times its gates."""
        return x * self.gate(self.conv(self.squeeze(x)))


def _padded(mode: str) -> nn.Module:
    return nn.Conv2d(CHANNELS, CHANNELS, 3, padding=1, padding_mode=mode)


def _by_hand(function: Forward) -> Callable[[], nn.Module]:
    return lambda: Around(Function(function))


def _module(make: Callable[[], nn.Module], channels: int = CHANNELS) -> Callable[[], nn.Module]:
    return lambda: Around(make(), channels)


C = CHANNELS
OPERATORS: dict[str, Callable[[], nn.Module]] = {
    "Conv2d": _module(lambda: nn.Conv2d(C, C, 3, padding=1)),
    "Conv2d, depthwise": _module(lambda: nn.Conv2d(C, C, 3, padding=1, groups=C)),
    "Conv2d, dilated": _module(lambda: nn.Conv2d(C, C, 3, padding=2, dilation=2)),
    "Conv2d, padding `reflect`": _module(lambda: _padded("reflect")),
    "Conv2d, padding `replicate`": _module(lambda: _padded("replicate")),
    "Conv2d, padding `circular`": _module(lambda: _padded("circular")),
    "Conv1d": _module(Lines),
    "Conv3d": _module(Volumes),
    "ConvTranspose2d": _module(lambda: nn.ConvTranspose2d(C, C, 2, 2)),
    "ConvTranspose2d, BatchNorm2d": _module(
        lambda: nn.Sequential(nn.ConvTranspose2d(C, C, 2, 2), nn.BatchNorm2d(C))
    ),
    "Linear": lambda: Tokens(nn.Linear(C, C)),
    "BatchNorm2d after a convolution": _module(lambda: nn.BatchNorm2d(C)),
    "BatchNorm2d after another": _module(
        lambda: nn.Sequential(nn.BatchNorm2d(C), nn.BatchNorm2d(C))
    ),
    "BatchNorm2d alone": _module(lambda: nn.Sequential(nn.MaxPool2d(2), nn.BatchNorm2d(C))),
    "BatchNorm1d": lambda: Tokens(
        Function(lambda x: nn.functional.batch_norm(
            x.transpose(1, 2), torch.full((C,), 0.1), torch.full((C,), 1.3)).transpose(1, 2))
    ),
    "LayerNorm": lambda: Tokens(nn.LayerNorm(C)),
    "GroupNorm": _module(lambda: nn.GroupNorm(2, C)),
    "InstanceNorm2d": _module(lambda: nn.InstanceNorm2d(C)),
    "RMSNorm": lambda: Tokens(nn.RMSNorm(C)),
    "ReLU": _module(nn.ReLU),
    "ReLU6": _module(nn.ReLU6),
    "LeakyReLU": _module(nn.LeakyReLU),
    "PReLU": _module(nn.PReLU),
    "ELU": _module(nn.ELU),
    "Hardswish": _module(nn.Hardswish),
    "Hardswish, `x * relu6(x + 3) / 6`": _by_hand(lambda x: x * F.relu6(x + 3) / 6),
    "Hardsigmoid": _module(nn.Hardsigmoid),
    "SiLU": _module(nn.SiLU),
    "SiLU, `x * sigmoid(x)`": _by_hand(lambda x: x * torch.sigmoid(x)),
    "GELU": _module(nn.GELU),
    "GELU, tanh": _module(lambda: nn.GELU(approximate="tanh")),
    "Mish": _module(nn.Mish),
    "Mish, `x * tanh(softplus(x))`": _by_hand(lambda x: x * torch.tanh(F.softplus(x))),
    "Softplus": _module(nn.Softplus),
    "Sigmoid": _module(nn.Sigmoid),
    "Tanh": _module(nn.Tanh),
    "`x + 3`": _by_hand(lambda x: x + 3),
    "`x * 2`": _by_hand(lambda x: x * 2),
    "`1 - x`": _by_hand(lambda x: 1 - x),
    "`x / 6`": _by_hand(lambda x: x / 6),
    "`x ** 2`": _by_hand(lambda x: x**2),
    "`x.clamp(-1, 1)`": _by_hand(lambda x: x.clamp(-1, 1)),
    "add": _module(lambda: Halves(torch.add)),
    "sub": _module(lambda: Halves(torch.sub)),
    "mul": _module(lambda: Halves(torch.mul)),
    "div": _module(lambda: Halves(lambda x, y: x / (y.abs() + 1.0))),
    "cat": _module(lambda: Halves(lambda x, y: torch.cat([x, y], 1)), 2 * C),
    "squeeze and excite": _module(lambda: Excite(nn.Sigmoid())),
    "squeeze and excite, Hardsigmoid": _module(lambda: Excite(nn.Hardsigmoid())),
    "MaxPool2d": _module(lambda: nn.MaxPool2d(2)),
    "MaxPool2d, overlapping": _module(lambda: nn.MaxPool2d(3, 2, 1)),
    "AvgPool2d": _module(lambda: nn.AvgPool2d(2)),
    "AvgPool2d, padded": _module(lambda: nn.AvgPool2d(3, 2, 1)),
    "AdaptiveAvgPool2d(1)": _module(lambda: nn.AdaptiveAvgPool2d(1)),
    "AdaptiveAvgPool2d(4)": _module(lambda: nn.AdaptiveAvgPool2d(4)),
    "AdaptiveMaxPool2d(4)": _module(lambda: nn.AdaptiveMaxPool2d(4)),
    "Upsample, nearest": _module(lambda: nn.Upsample(scale_factor=2)),
    "Upsample, bilinear": _module(
        lambda: nn.Upsample(scale_factor=2, mode="bilinear", align_corners=False)
    ),
    "PixelShuffle": _module(lambda: nn.PixelShuffle(2), C // 4),
    "PixelUnshuffle": _module(lambda: nn.PixelUnshuffle(2), 4 * C),
    "ChannelShuffle": _module(lambda: nn.ChannelShuffle(2)),
    "channel shuffle by views": _by_hand(
        lambda x: x.view(len(x), 2, C // 2, SIDE, SIDE).transpose(1, 2).flatten(1, 2)
    ),
    "`chunk`, halves added": _module(
        lambda: Function(lambda x: torch.add(*x.chunk(2, 1))), C // 2
    ),
    "softmax": lambda: Tokens(nn.Softmax(-1)),
    "matmul": lambda: Tokens(Function(lambda x: x @ x.transpose(1, 2) @ x)),
    "attention, spelled": lambda: Tokens(Attention(True)),
    "scaled_dot_product_attention": lambda: Tokens(Attention(False)),
    "MultiheadAttention": lambda: Tokens(_SelfAttention()),
    "F.normalize": _by_hand(lambda x: F.normalize(x, dim=1)),
    "F.pad, zeros": _by_hand(lambda x: F.pad(x, (1, 1, 1, 1))),
    "ReflectionPad2d": _module(lambda: nn.ReflectionPad2d(1)),
    "ReplicationPad2d": _module(lambda: nn.ReplicationPad2d(1)),
    "CircularPad2d": _module(lambda: nn.CircularPad2d(1)),
    "mean over channels": _by_hand(lambda x: x * x.mean(1, keepdim=True)),
}  # fmt: skip


class _SelfAttention(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.attention = nn.MultiheadAttention(CHANNELS, 2, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        return self.attention(x, x, x, need_weights=False)[0]


def build(name: str) -> nn.Module:
    """Return the network of an operator, with random weights and statistics, in eval mode."""
    torch.manual_seed(0)
    network = OPERATORS[name]()
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.3)
            module.running_var.uniform_(0.5, 2)
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.bias, 0, 0.3)
    return network.eval()
