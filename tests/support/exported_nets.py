"""Small networks in float and in int8, and what is known of their images."""

import torch
from torch import nn

from potstill.models.cifar_resnet import BasicBlock, OptionA, cifar_resnet
from potstill.models.tiny_cnn import tiny_cnn
from potstill.quantization.convert import convert
from potstill.quantization.prepare import prepare

CLASSES = ("ant", "bee", "cat", "dög", "eel")
FACTS = {
    "class_names": list(CLASSES),
    "mean": [0.4, 0.5, 0.6],
    "std": [0.2, 0.25, 0.3],
    "image_shape": [3, 16, 16],
    "preprocess": {"resize": 18, "crop": 16},
}


def make_images(count=24):
    return torch.randn(count, 3, 16, 16, generator=torch.Generator().manual_seed(0))


def trained_on(network, images):
    """Give batch-norms the statistics of the images, and ranges to quantizers."""
    with torch.no_grad():
        for _ in range(3):
            network.train()(images)
    return network.eval()


def small():
    torch.manual_seed(0)
    return trained_on(tiny_cnn(len(CLASSES)), make_images())


def integers(network):
    return convert(trained_on(prepare(network), make_images()))


def resnet8():
    torch.manual_seed(0)
    return trained_on(cifar_resnet(8, len(CLASSES)), make_images())


def residual():
    """A stem, one block with a shortcut of no parameters, and a classifier."""
    torch.manual_seed(0)
    stem = [nn.Conv2d(3, 4, 3, bias=False), nn.BatchNorm2d(4), nn.ReLU()]
    block = BasicBlock(4, 8, 2, OptionA(4, 8, 2))
    head = [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, len(CLASSES))]
    return trained_on(nn.Sequential(*stem, block, *head), make_images())
