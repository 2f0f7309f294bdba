"""VGG networks for small images (Simonyan & Zisserman 2014, arXiv:1409.1556).

As the distillation literature uses them (Tian et al. 2020, arXiv:1910.10699): the last two max
poolings are left out, the mean is taken over what remains, and one layer classifies it in place
of three. Layers before that keep torchvision's names (`features.0`, ...).
"""

from torch import Tensor, nn
from torchvision.models.vgg import cfgs, make_layers

from potstill.models.build import initialise

Plan = list[str | int]

# The letters are those of table 1 in the paper; VGG-8 is the literature's.
PLANS: dict[str, Plan] = {
    "vgg8": [64, "M", 128, "M", 256, "M", 512, "M", 512, "M"],
    "vgg11": cfgs["A"],
    "vgg13": cfgs["B"],
    "vgg16": cfgs["D"],
    "vgg19": cfgs["E"],
}


class CifarVGG(nn.Module):
    """Convolutions at strides 1, 2, 4 and 8, global mean, one linear layer."""

    def __init__(self, plan: Plan, batch_norm: bool, num_classes: int) -> None:
        super().__init__()
        self.features = make_layers(plan, batch_norm)
        pools = [i for i, layer in enumerate(self.features) if isinstance(layer, nn.MaxPool2d)]
        for i in pools[-2:]:
            self.features[i] = nn.Identity()  # keeps the numbers of the layers after it
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.classifier = nn.Linear(512, num_classes)
        initialise(self)
        nn.init.normal_(self.classifier.weight, 0, 0.01)
        nn.init.zeros_(self.classifier.bias)

    def forward(self, x: Tensor) -> Tensor:
        """Return logits (N, K) of images (N, 3, H, W)."""
        return self.classifier(self.avgpool(self.features(x)).flatten(1))


def cifar_vgg(name: str, num_classes: int) -> CifarVGG:
    """Return `name` (vgg8, 11, 13, 16 or 19, with or without `_bn`) for small images."""
    return CifarVGG(PLANS[name.removesuffix("_bn")], name.endswith("_bn"), num_classes)
