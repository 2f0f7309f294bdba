"""Features read by hooks equal those of a hand-written forward pass."""

import pytest
import torch
import torch.nn.functional as F
import torchvision
from torch import nn

from potstill.errors import ConfigError
from potstill.models.features.extractor import FeatureExtractor, _renamed


class Residual(nn.Module):
    """One ReLU module used twice, in place, and an in-place addition: torchvision's habits."""

    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(3, 3, 3, padding=1)
        self.conv2 = nn.Conv2d(3, 3, 3, padding=1)
        self.relu = nn.ReLU(inplace=True)

    def forward(self, x):
        out = self.conv2(self.relu(self.conv1(x)))
        out += x
        return self.relu(out)


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.block = Residual()
        self.down = nn.Conv2d(3, 5, 3, stride=2, padding=1)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(5, 4)

    def forward(self, x):
        return self.fc(self.pool(self.down(self.block(x))).flatten(1))


@pytest.fixture
def net():
    torch.manual_seed(0)
    return Net()


def test_features_survive_in_place_operations(net):
    image = torch.randn(2, 3, 8, 8)
    names = ["block.conv2", "block:preact", "block", "block.conv1:input", "pooled"]
    extractor = FeatureExtractor(net, names, (3, 8, 8))
    signal = extractor(image)
    block = net.block
    second = block.conv2(F.relu(block.conv1(image)))
    torch.testing.assert_close(signal.features["block.conv2"], second)
    torch.testing.assert_close(signal.features["block:preact"], second + image)
    torch.testing.assert_close(signal.features["block"], F.relu(second + image))
    torch.testing.assert_close(signal.features["block.conv1:input"], image)
    pooled = net.down(F.relu(second + image)).mean((2, 3))
    torch.testing.assert_close(signal.features["pooled"], pooled)
    torch.testing.assert_close(signal.logits, net(image))


def test_features_carry_gradient(net):
    image = torch.randn(2, 3, 8, 8)
    FeatureExtractor(net, ["block:preact"], (3, 8, 8))(image).features[
        "block:preact"
    ].sum().backward()
    assert net.block.conv2.weight.grad.abs().sum() > 0
    assert net.down.weight.grad is None


def test_probe_keeps_modes_and_statistics():
    net = torchvision.models.resnet18(num_classes=5).train()
    net.layer1[0].bn1.eval()
    before = net.bn1.running_mean.clone()
    extractor = FeatureExtractor(net, ["level-1", "level-2:preact"], (3, 32, 32))
    signal = extractor.probe()
    assert signal.features["level-1"].shape == (2, 256, 2, 2)  # layer4 has shrunk to 1x1
    assert net.training
    assert not net.layer1[0].bn1.training
    torch.testing.assert_close(net.bn1.running_mean, before)
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in net.modules())


def test_unknown_layer_names_the_nearest(net):
    with pytest.raises(ConfigError, match=r"layer=blok: no such layer.*block"):
        FeatureExtractor(net, ["blok"], (3, 8, 8))
    with pytest.raises(ConfigError, match="level9"):
        FeatureExtractor(net, ["level9"], (3, 8, 8))
    with pytest.raises(ConfigError, match="suffix"):
        FeatureExtractor(net, ["block:after"], (3, 8, 8))


def test_levels_of_a_part_are_those_of_the_part_alone():
    torch.manual_seed(0)
    vgg, resnet = torchvision.models.vgg11_bn(num_classes=5), torchvision.models.resnet18()
    whole = nn.ModuleDict({"a": vgg, "b": resnet})
    whole.forward = lambda image: whole["a"](image).sum() + whole["b"](image)
    image, names = torch.randn(2, 3, 64, 64), ["level1", "level-1", "level-2:preact", "pooled"]
    for part in ("a", "b"):
        whole.eval()
        alone = FeatureExtractor(whole[part], names, (3, 64, 64))(image).features
        inside = FeatureExtractor(whole, [f"{part}.{name}" for name in names], (3, 64, 64))(
            image
        ).features
        assert inside.keys() == {f"{part}.{name}" for name in names}
        for name in names:
            assert torch.equal(inside[f"{part}.{name}"], alone[name])
    with pytest.raises(ConfigError, match=r"layer=c\.level1: no such layer"):
        FeatureExtractor(whole, ["c.level1"], (3, 64, 64))


def test_the_empty_name_is_the_network_itself(net):
    image = torch.randn(2, 3, 8, 8)
    signal = FeatureExtractor(net, ["", ":input"], (3, 8, 8))(image)
    assert signal.features[""] is signal.logits
    assert torch.equal(signal.features[":input"], image)


def test_layers_may_be_called_stages():
    """As in timm's ConvNeXt: only `level` and a number is found by probing."""
    net = nn.Sequential()
    net.stages = nn.Sequential(nn.Conv2d(3, 4, 1), nn.Conv2d(4, 4, 1))
    image = torch.randn(1, 3, 4, 4)
    signal = FeatureExtractor(net, ["stages.0"], (3, 4, 4))(image)
    assert torch.equal(signal.features["stages.0"], net.stages[0](image))
    with pytest.raises(ConfigError, match="level0: no such level"):
        FeatureExtractor(net, ["level0"], (3, 4, 4))


def test_a_layer_that_is_never_called(net):
    net.unused = nn.ReLU()
    with pytest.raises(ConfigError, match="unused is never called"):
        FeatureExtractor(net, ["unused:preact"], (3, 8, 8)).probe()


def test_a_layer_of_that_very_name_comes_first():
    """As `level1` of timm's DLA: a path that is printed with the network means that layer."""
    net = nn.Sequential()
    net.level1 = nn.Sequential(nn.Conv2d(3, 4, 1), nn.ReLU())
    net.late = nn.Conv2d(4, 5, 1)
    sources = FeatureExtractor(net, ["level1", "level-1"], (3, 4, 4)).sources
    assert [source.path for source in sources.values()] == ["level1", "late"]


def test_the_old_spelling_of_levels_is_understood_and_told_once(net, caplog):
    image = torch.randn(1, 3, 8, 8)
    _renamed.cache_clear()
    for _ in range(2):
        outputs = FeatureExtractor(net, ["stage-1:preact", "level-1:preact"], (3, 8, 8))(image)
    assert torch.equal(*outputs.features.values())
    [line] = caplog.messages
    assert line == "layer=stage-1: renamed, and gone in the next release. Fix: layer=level-1"
