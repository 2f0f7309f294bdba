"""One small network of each family, with batch norms that have seen data."""

import torch
from torch import nn
from torchvision.models import ConvNeXt, DenseNet, EfficientNet, MobileNetV2, MobileNetV3
from torchvision.models.convnext import CNBlockConfig
from torchvision.models.efficientnet import MBConvConfig
from torchvision.models.mobilenetv3 import InvertedResidualConfig
from torchvision.models.regnet import BlockParams, RegNet

from potstill.models.cifar_resnet import cifar_resnet
from potstill.models.timm import timm_model
from potstill.models.torchvision import torchvision_model
from potstill.models.wide_resnet import wide_resnet

IMAGE = (3, 32, 32)


def _resnet(name):
    return timm_model(name, 5, layers=(1, 1, 1, 1), channels=(16, 24, 32, 48))


def _mobilenet_v3():
    def block(*args):
        return InvertedResidualConfig(*args, dilation=1, width_mult=1.0)

    settings = [
        block(16, 3, 32, 16, True, "RE", 2),
        block(16, 3, 48, 32, False, "HS", 2),
        block(32, 5, 64, 32, True, "HS", 1),
    ]
    return MobileNetV3(settings, last_channel=64, num_classes=5)


def _regnet_y():
    params = BlockParams(
        depths=[1, 2], widths=[32, 64], group_widths=[8, 8], bottleneck_multipliers=[1.0, 1.0],
        strides=[2, 2], se_ratio=0.25,
    )  # fmt: skip
    return RegNet(params, num_classes=5)


def _regnet_x():
    params = BlockParams(
        depths=[1, 2], widths=[32, 64], group_widths=[16, 16], bottleneck_multipliers=[1.0, 1.0],
        strides=[2, 2],
    )  # fmt: skip
    return RegNet(params, num_classes=5)


def _efficientnet():
    settings = [MBConvConfig(1, 3, 1, 32, 16, 1, 1.0, 1.0), MBConvConfig(4, 5, 2, 16, 24, 2, 1, 1)]
    return EfficientNet(settings, dropout=0.1, num_classes=5, last_channel=64)


SMALL = {
    "resnet_basic": lambda: _resnet("resnet18"),
    "resnet_bottleneck": lambda: _resnet("resnet50"),
    "vgg": lambda: _vgg(),
    "mobilenet_v2": lambda: MobileNetV2(
        5, inverted_residual_setting=[[1, 16, 1, 1], [4, 24, 2, 2], [4, 32, 2, 2]]
    ),
    "mobilenet_v3": _mobilenet_v3,
    "regnet_x": _regnet_x,
    "regnet_y": _regnet_y,
    "cifar_resnet": lambda: cifar_resnet(8, 5),
    "wide_resnet": lambda: wide_resnet(10, 2, 5),
    "densenet": lambda: DenseNet(16, (2, 3), 32, num_classes=5),
    "efficientnet": _efficientnet,
}

FULL = {
    "resnet18": lambda: torchvision_model("resnet18", 5),
    "resnet50": lambda: torchvision_model("resnet50", 5),
    "vgg8_bn": lambda: torchvision_model("vgg8_bn", 5),
    "cifar_resnet20": lambda: cifar_resnet(20, 5),
    "tf_efficientnet_b0": lambda: timm_model("tf_efficientnet_b0", 5),
    "timm densenet": lambda: timm_model("densenet121", 5, growth_rate=16, block_config=(2, 2, 2)),
}

CONVNEXTS = {
    "torchvision": lambda: ConvNeXt(
        [CNBlockConfig(32, 48, 2), CNBlockConfig(48, None, 2)], num_classes=5
    ),
    "timm": lambda: timm_model("convnext_atto", 5, depths=(1, 1, 2, 1)),
}


def _vgg():
    layers = []
    for inside, outside in [(3, 16), (16, 32), (32, 32)]:
        layers += [nn.Conv2d(inside, outside, 3, padding=1), nn.BatchNorm2d(outside), nn.ReLU()]
        layers += [nn.MaxPool2d(2)]
    head = [nn.Flatten(), nn.Linear(512, 64), nn.ReLU(), nn.Dropout(0.5), nn.Linear(64, 5)]
    return nn.Sequential(*layers, *head)


def build(make, seed=0):
    """Return the network in eval mode, its batch norms as if trained: nothing is 0 or 1."""
    torch.manual_seed(seed)
    net = make()
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.5)
            module.running_var.uniform_(0.5, 2)
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.bias, 0, 0.5)
    return net.eval()


def make_images(count=2, image_shape=IMAGE):
    return torch.randn(count, *image_shape, generator=torch.Generator().manual_seed(1))


def data(batches=2, size=4):
    generator = torch.Generator().manual_seed(2)
    images = torch.randn(batches, size, *IMAGE, generator=generator)
    return list(zip(images, torch.randint(5, (batches, size), generator=generator), strict=True))
