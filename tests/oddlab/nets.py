"""Networks of kinds that people bring: several outputs, auxiliary ones, shared weights, norms."""

import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm
from torchvision.models import googlenet
from torchvision.models.googlenet import GoogLeNetOutputs


def block(inputs: int, outputs: int, stride: int = 1) -> nn.Sequential:
    """Return convolution, batch norm and ReLU."""
    conv = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(outputs), nn.ReLU())


class InDict(nn.Module):
    """Features and logits in a dict."""

    def __init__(self, num_classes: int, width: int = 8) -> None:
        super().__init__()
        self.stem, self.body = block(3, width, 2), block(width, 2 * width, 2)
        self.head = nn.Linear(2 * width, num_classes)

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        """Return both."""
        features = self.body(self.stem(x)).mean((2, 3))
        return {"features": features, "logits": self.head(features)}


class Tied(nn.Module):
    """Two convolutions of one weight, after one with spectral norm."""

    def __init__(self, num_classes: int, width: int = 8) -> None:
        super().__init__()
        self.stem, self.body = spectral_norm(nn.Conv2d(3, width, 3, 2, 1)), block(width, width)
        self.first, self.second = nn.Conv2d(width, width, 1), nn.Conv2d(width, width, 1)
        self.second.weight = self.first.weight
        self.head = nn.Linear(width, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        """Return logits."""
        y = F.relu(self.first(self.body(F.relu(self.stem(x)))))
        return self.head(F.relu(self.second(y)).mean((2, 3)))


class Auxiliary(nn.Module):
    """A second classifier that runs in training alone, as GoogLeNet's."""

    def __init__(self, num_classes: int, width: int = 8) -> None:
        super().__init__()
        self.stem, self.body = block(3, width, 2), block(width, 2 * width, 2)
        self.head = nn.Linear(2 * width, num_classes)
        self.aux = nn.Sequential(
            nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(width, num_classes)
        )

    def forward(self, x: Tensor) -> Tensor | GoogLeNetOutputs:
        """Return logits, in training with auxiliary ones."""
        y = self.stem(x)
        logits = self.head(self.body(y).mean((2, 3)))
        return GoogLeNetOutputs(logits, self.aux(y), None) if self.training else logits


def google(num_classes: int) -> nn.Module:
    """Return torchvision's GoogLeNet with auxiliary classifiers."""
    return googlenet(num_classes=num_classes, aux_logits=True, init_weights=False)
