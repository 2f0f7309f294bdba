import pytest
import torch
from torch import nn
from torchvision.models.resnet import BasicBlock

from potstill.errors import ConfigError
from potstill.models.cifar_resnet import cifar_resnet_x4


@pytest.mark.parametrize(("depth", "expected"), [(8, 1_233_540), (32, 7_433_860)])
def test_parameter_count_of_the_literature(depth, expected):
    with torch.device("meta"):
        model = cifar_resnet_x4(depth, 100)
    assert sum(p.numel() for p in model.parameters()) == expected


def projection(in_channels, out_channels, stride):
    return nn.Sequential(
        nn.Conv2d(in_channels, out_channels, 1, stride, bias=False), nn.BatchNorm2d(out_channels)
    )


def test_outputs_against_torchvisions_blocks():
    torch.manual_seed(0)
    model = cifar_resnet_x4(8, 10)
    x = torch.randn(4, 3, 32, 32)
    h = torch.relu(model.bn1(model.conv1(x)))
    for name, c_in, c_out, stride in (("1", 32, 64, 1), ("2", 64, 128, 2), ("3", 128, 256, 2)):
        block = BasicBlock(c_in, c_out, stride, projection(c_in, c_out, stride))
        block.load_state_dict(model.get_submodule(f"layer{name}.0").state_dict())
        h = block(h)
    torch.testing.assert_close(model(x), model.fc(h.mean((2, 3))), rtol=1e-4, atol=1e-5)


def test_keys_are_those_of_the_literatures_checkpoints():
    with torch.device("meta"):
        keys = set(cifar_resnet_x4(14, 10).state_dict())
    norm = ["weight", "bias", "running_mean", "running_var", "num_batches_tracked"]
    expected = {"conv1.weight", *(f"bn1.{n}" for n in norm), "fc.weight", "fc.bias"}
    for block in (f"layer{i}.{j}" for i in (1, 2, 3) for j in (0, 1)):
        expected |= {f"{block}.{c}.weight" for c in ("conv1", "conv2")}
        expected |= {f"{block}.{b}.{n}" for b in ("bn1", "bn2") for n in norm}
        if block.endswith("0"):
            expected |= {f"{block}.downsample.0.weight"}
            expected |= {f"{block}.downsample.1.{n}" for n in norm}
    assert keys == expected


def test_the_imagenet_stem_raises():
    with pytest.raises(ConfigError, match="stem=imagenet"):
        cifar_resnet_x4(8, 10, stem="imagenet")
