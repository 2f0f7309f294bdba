"""Every family of networks in a size that tests can run, with statistics as after training."""

from functools import partial

import torch
from torch import Tensor, nn
from torchvision.models import (
    DenseNet,
    EfficientNet,
    MobileNetV2,
    MobileNetV3,
    RegNet,
    ResNet,
    ShuffleNetV2,
    SqueezeNet,
    VisionTransformer,
)
from torchvision.models.convnext import CNBlockConfig, ConvNeXt
from torchvision.models.efficientnet import FusedMBConvConfig, MBConvConfig
from torchvision.models.mobilenetv3 import InvertedResidualConfig
from torchvision.models.regnet import BlockParams
from torchvision.models.resnet import BasicBlock, Bottleneck

from potstill.models.cifar_resnet import cifar_resnet
from potstill.models.small_cnn import small_cnn
from potstill.models.stems import fit_cifar_stem
from potstill.models.tiny_cnn import tiny_cnn
from potstill.models.vgg import CifarVGG
from potstill.models.wide_resnet import wide_resnet
from potstill.quantization.observers import activation_quantizers
from potstill.quantization.prepare import prepare

CLASSES = 5


def resnet(block: type[BasicBlock | Bottleneck], stages: tuple[int, ...]) -> nn.Module:
    """Return a ResNet, with its shared ReLUs, that has only some of its stages."""
    network = ResNet(block, [1, 1, 1, 1], CLASSES)
    for stage in {1, 2, 3, 4} - set(stages):
        setattr(network, f"layer{stage}", nn.Identity())
    network.fc = nn.Linear(32 * 2 ** stages[-1] * block.expansion, CLASSES)
    return network


def mobilenet_v3() -> nn.Module:
    config = partial(InvertedResidualConfig, width_mult=0.5, dilation=1)
    plan = [
        config(16, 3, 16, 16, True, "RE", stride=2),
        config(16, 3, 32, 32, True, "HS", stride=1),
        config(32, 5, 64, 32, False, "HS", stride=1),
    ]
    return MobileNetV3(plan, 32, num_classes=CLASSES)


def efficientnet() -> nn.Module:
    plan = [FusedMBConvConfig(1, 3, 2, 16, 16, 1), MBConvConfig(2, 3, 1, 16, 16, 2)]
    return EfficientNet(plan, 0.1, 0.2, CLASSES, last_channel=32)


def convnext() -> nn.Module:
    return ConvNeXt([CNBlockConfig(8, 16, 1), CNBlockConfig(16, None, 1)], num_classes=CLASSES)


def vit() -> nn.Module:
    return VisionTransformer(16, 4, 2, 2, 16, 32, num_classes=CLASSES)


def mobilenet_v2() -> nn.Module:
    setting = [[2, 8, 2, 1]]
    return MobileNetV2(CLASSES, 0.25, setting)


def regnet(se_ratio: float | None) -> nn.Module:
    params = BlockParams([1, 2], [16, 32], [8, 8], [1.0, 1.0], [2, 2], se_ratio)
    return RegNet(params, CLASSES, stem_width=8)


def squeezenet() -> nn.Module:
    network = SqueezeNet("1_1", CLASSES)
    network.features = network.features[:5]
    network.classifier[1] = nn.Conv2d(128, CLASSES, 1)
    return network


FAMILIES = {
    "tiny_cnn": partial(tiny_cnn, CLASSES),
    "small_cnn": partial(small_cnn, CLASSES, image_size=16, channels=(4, 8), hidden=16),
    "cifar_resnet": partial(cifar_resnet, 8, CLASSES),
    "wide_resnet": partial(wide_resnet, 10, 1, CLASSES),
    "resnet": partial(resnet, BasicBlock, (1, 2, 3)),
    "resnet_bottleneck": partial(resnet, Bottleneck, (1, 2)),
    "resnet_one_block": partial(resnet, BasicBlock, (2,)),
    "mobilenet_v2": mobilenet_v2,
    "mobilenet_v3": mobilenet_v3,
    "regnet_x": partial(regnet, None),
    "regnet_y": partial(regnet, 0.25),
    "vgg_bn": partial(CifarVGG, [8, "M", 16, "M", 512, "M", "M"], True, CLASSES),
    "efficientnet": efficientnet,
    "densenet": partial(DenseNet, 4, (2, 2), 8, num_classes=CLASSES),
    "shufflenet": partial(ShuffleNetV2, [1, 1, 1], [8, 16, 32, 32, 32], CLASSES),
    "squeezenet": squeezenet,
    "convnext": convnext,
    "vit": vit,
}
TIMM = {
    "test_resnet": {},
    "test_efficientnet": {},
    "mobilenetv3_small_050": {},
    "convnext_atto": {"depths": (1, 1, 1, 1), "dims": (8, 8, 16, 16), "patch_size": 1},
    "vit_tiny_patch16_224": {
        "img_size": 16, "patch_size": 4, "depth": 2, "embed_dim": 16, "num_heads": 2
    },
}  # fmt: skip


def make_images(count: int = 8, seed: int = 0) -> Tensor:
    """Return images (N, 3, 16, 16), smooth as photographs are."""
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.randn(count, 3, 5, 5, generator=generator)
    return nn.functional.interpolate(coarse, size=16, mode="bicubic")


def build(name: str) -> nn.Module:
    """Return the network in eval mode, its batch-norms used to the images."""
    torch.manual_seed(0)
    network = _timm(name) if name in TIMM else FAMILIES[name]()
    if name in ("resnet", "resnet_bottleneck", "mobilenet_v2", "mobilenet_v3"):
        fit_cifar_stem(network, name)
    norms = [m for m in network.modules() if isinstance(m, nn.BatchNorm2d)]
    was = [norm.momentum for norm in norms]
    for norm in norms:
        norm.momentum = None  # the plain average
        with torch.no_grad():
            norm.weight.uniform_(0.5, 1.5)
            norm.bias.normal_(std=0.2)
    for layer in network.modules():
        if isinstance(layer, nn.Linear):  # some start so near zero that logits are all alike
            nn.init.normal_(layer.weight, std=layer.in_features**-0.5)
    for seed in range(3):
        with torch.no_grad():
            network.train()(make_images(seed=seed))
    for norm, momentum in zip(norms, was, strict=True):
        norm.momentum = momentum
    return network.eval()


def _timm(name: str) -> nn.Module:
    import timm

    return timm.create_model(name, num_classes=CLASSES, **TIMM[name])


@torch.no_grad()
def calibrated(network: nn.Module) -> nn.Module:
    """Return the network fake-quantized, its ranges those of some images."""
    prepared = prepare(network)
    for quantizer in activation_quantizers(prepared):
        quantizer.training = True
    prepared(make_images(32, seed=5))
    return prepared.eval()


def sqnr(exact: Tensor, found: Tensor) -> float:
    """Return the signal-to-noise ratio in dB."""
    return 10 * torch.log10(exact.square().sum() / (exact - found).square().sum()).item()
