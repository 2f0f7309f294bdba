"""Stems of torchvision networks for small images: the first two halvings are taken out.

A network for 224 pixels halves an image five times; after the change it halves it three times,
so that 32 pixels end as a 4x4 map. Every parameter keeps its name.
"""

from torch import nn
from torchvision.models import EfficientNet, MobileNetV2, MobileNetV3, RegNet, ResNet

from potstill.errors import ConfigError
from potstill.models.build import initialise


def fit_cifar_stem(model: nn.Module, name: str) -> None:
    """Change `model` in place.

    - ResNet, ResNeXt, wide ResNet: a fresh 3x3 convolution of stride 1, and no max pooling.
    - RegNet: stride 1 in the 3x3 stem and in the first block of the first level.
    - MobileNet, EfficientNet: stride 1 in the first two convolutions of stride 2.

    Raises:
        ConfigError: if the family has no stem for small images.
    """
    if isinstance(model, ResNet):
        model.conv1 = nn.Conv2d(3, model.conv1.out_channels, 3, padding=1, bias=False)
        initialise(model.conv1)
        model.maxpool = nn.Identity()
    elif isinstance(model, RegNet):
        _unstride(_strided(model.stem) + _strided(model.trunk_output[0]))
    elif isinstance(model, MobileNetV2 | MobileNetV3 | EfficientNet):
        _unstride(_strided(model)[:2])
    else:
        raise ConfigError(
            f"stem=cifar: {name} has no stem for images of 64 pixels or fewer. Fix: "
            "stem=imagenet, or a resnet, regnet, mobilenet, efficientnet, vgg or vit"
        )


def _strided(module: nn.Module) -> list[nn.Conv2d]:
    return [m for m in module.modules() if isinstance(m, nn.Conv2d) and m.stride == (2, 2)]


def _unstride(convolutions: list[nn.Conv2d]) -> None:
    for convolution in convolutions:
        convolution.stride = (1, 1)
