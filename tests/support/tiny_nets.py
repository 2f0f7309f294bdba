"""Networks of a few hundred weights, and heads bound to them as a run binds them."""

import torch
from torch import Tensor, nn

from potstill.heads.base import Head
from potstill.models.features.extractor import FeatureExtractor
from potstill.models.features.outputs import ModelOutputs


class Block(nn.Module):
    """A residual block, its shortcut's batch-norm computed after its own."""

    def __init__(self, width: int, out: int, stride: int = 2) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(width, out, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(out)
        self.relu = nn.ReLU(inplace=True)
        self.conv2 = nn.Conv2d(out, out, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(out)
        self.shortcut = nn.Sequential(
            nn.Conv2d(width, out, 1, stride, bias=False), nn.BatchNorm2d(out)
        )

    def forward(self, x: Tensor) -> Tensor:
        out = self.bn2(self.conv2(self.relu(self.bn1(self.conv1(x)))))
        out += self.shortcut(x)
        return self.relu(out)


class ResNet(nn.Module):
    def __init__(self, widths: tuple[int, ...] = (6, 8, 10), num_classes: int = 5) -> None:
        super().__init__()
        stem = nn.Sequential(nn.Conv2d(3, 4, 3, 1, 1), nn.BatchNorm2d(4), nn.ReLU())
        pairs = zip((4, *widths[:-1]), widths, strict=True)
        self.layers = nn.Sequential(stem, *(Block(a, b) for a, b in pairs))
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(widths[-1], num_classes)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(self.pool(self.layers(x)).flatten(1))


class ViT(nn.Module):
    def __init__(self, width: int = 12, depth: int = 3, num_classes: int = 5) -> None:
        super().__init__()
        self.patch = nn.Conv2d(3, width, 4, 4)
        self.cls = nn.Parameter(torch.full((1, 1, width), 0.1))
        self.blocks = nn.Sequential(
            *(nn.TransformerEncoderLayer(width, 2, 16, 0.0, batch_first=True) for _ in range(depth))
        )
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        tokens = self.patch(x).flatten(2).transpose(1, 2)
        tokens = torch.cat([self.cls.expand(len(x), -1, -1), tokens], dim=1)
        return self.head(self.norm(self.blocks(tokens))[:, 0])


@torch.no_grad()
def scrambled(network: nn.Module, seed: int = 0) -> nn.Module:
    """Fill weights and running statistics, so that black images too give features."""
    generator = torch.Generator().manual_seed(seed)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.weight.uniform_(0.5, 1.5, generator=generator)
            module.bias.uniform_(-0.5, 0.5, generator=generator)
            module.running_mean.uniform_(-0.3, 0.3, generator=generator)
            module.running_var.uniform_(0.5, 2.0, generator=generator)
    return network.eval()


def cnn(*widths: int, seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    return scrambled(ResNet(widths or (6, 8, 10)), seed)


def vit(seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    return ViT().eval()


def taps(
    head: Head, student: nn.Module, teacher: nn.Module, side: int = 32
) -> tuple[FeatureExtractor, FeatureExtractor]:
    shape = (3, side, side)
    ours, theirs = zip(*head.pairs, strict=True)
    return FeatureExtractor(student, ours, shape), FeatureExtractor(teacher, theirs, shape)


def bind(
    head: Head,
    student: nn.Module,
    teacher: nn.Module,
    targets: Tensor | None = None,
    side: int = 32,
) -> tuple[FeatureExtractor, FeatureExtractor]:
    """Attach and bind as a run does, twice: before training, and again before testing."""
    ours, theirs = taps(head, student, teacher, side)
    for _ in range(2):
        head.attach(student, teacher, targets)
        head.bind(ours.probe(), theirs.probe())
    return ours, theirs


def make_images(num: int, side: int = 32, seed: int = 0) -> Tensor:
    return torch.randn(num, 3, side, side, generator=torch.Generator().manual_seed(seed))


def check_networks(head: Head, student: nn.Module, teacher: nn.Module, num: int = 3) -> None:
    """The bound head gives a finite loss, and gradients to the student and to every adapter."""
    torch.manual_seed(0)
    targets = torch.arange(8) % 2
    ours, theirs = bind(head, student, teacher, targets)
    images, ids = make_images(num), torch.arange(num)
    with torch.no_grad():
        wanted = theirs(images, ids)
    loss = head(ours(images, ids), wanted, targets[:num])
    loss.backward()
    assert loss.dim() == 0
    assert loss.item() > 0
    trained = [p for p in head.parameters() if p.requires_grad]
    for parameter in [*trained, next(student.parameters())]:
        assert parameter.grad is not None
        assert parameter.grad.isfinite().all()
    assert next(student.parameters()).grad.abs().sum() > 0


def as_outputs(
    names: tuple[str, ...], features: list[Tensor], ids: Tensor | None = None
) -> ModelOutputs:
    logits = features[0].new_zeros(len(features[0]), 5)
    return ModelOutputs(logits, dict(zip(names, features, strict=True)), ids)
