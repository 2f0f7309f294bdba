import pytest
import torch
from torch import nn

from potstill.heads.common.locate import locate
from potstill.models.features.extractor import FeatureExtractor, FeatureSource
from potstill.models.features.outputs import ModelOutputs
from tests.support.tiny_nets import Block, cnn, vit

LAYERS = ["level-2", "level-1:preact", "pooled"]


@pytest.mark.parametrize("side", [16, 28, 32, 56, 224])
def test_layers_at_any_size_of_image(side):
    network = cnn()
    extractor = FeatureExtractor(network, LAYERS, (3, side, side))
    assert locate(network, extractor.probe(), LAYERS).sources == extractor.sources


def test_stage_depends_on_the_size_of_the_image():
    network = nn.Sequential(cnn().layers, nn.MaxPool2d(4, ceil_mode=True), nn.Conv2d(10, 10, 1))
    found = []
    for side in (16, 64):
        extractor = FeatureExtractor(network, ["level-1"], (3, side, side))
        found.append(locate(network, extractor.probe(), ["level-1"]).sources["level-1"])
        assert found[-1] == extractor.sources["level-1"]
    assert found[0] != found[1]


def test_tokens():
    network = vit()
    located = locate(network, FeatureExtractor(network, ["level-1"]).probe(), ["level-1"])
    assert located.sources == {"level-1": FeatureSource("blocks.2")}
    assert located.last_linear() is network.head


def test_network_that_takes_one_size():
    class Picky(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.net = cnn()

        def forward(self, x):
            assert x.shape[-1] == 48
            return self.net(x)

    network = Picky()
    signal = FeatureExtractor(network, ["level-1"], (3, 48, 48)).probe()
    assert locate(network, signal, ["level-1"]).sources["level-1"].path == "net.layers"


def test_unknown_shape():
    signal = ModelOutputs(torch.zeros(2, 5), {"level-1": torch.zeros(2, 99, 4, 4)})
    with pytest.raises(ValueError, match=r"no square image gives level-1 \(99, 4, 4\)\. Fix"):
        locate(cnn(), signal, ["level-1"])


def norms(network, *names):
    extractor = FeatureExtractor(network, names, (3, 32, 32))
    located = locate(network, extractor.probe(), names)
    features = extractor.probe().features
    return [located.norm_before(name, features[name].shape[1]) for name in names]


def test_norm_of_the_main_branch():
    network = cnn()
    found = norms(network, "level-2:preact", "level-1:preact", "layers.0.0", "layers.0:preact")
    assert found[:2] == [network.layers[2].bn2, network.layers[3].bn2]
    assert found[2:] == [None, network.layers[0][1]]


def test_norm_after_a_layer_without_relu():
    linear = nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4), nn.ReLU(), nn.Conv2d(4, 6, 1))
    body = nn.Sequential(linear, nn.BatchNorm2d(6), nn.BatchNorm2d(6, affine=False))
    network = nn.Sequential(body, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(6, 5)).eval()
    assert norms(network, "0", "0.0", "0.0.2") == [body[1], None, None]


def test_norm_without_relu_modules():
    class Functional(Block):
        def __init__(self) -> None:
            super().__init__(3, 6)
            del self.relu
            self.act = torch.relu

        def forward(self, x):
            out = self.act(self.bn1(self.conv1(x)))
            return self.act(self.bn2(self.conv2(out)))

    block = Functional()
    network = nn.Sequential(block, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(6, 5)).eval()
    assert norms(network, "level-1") == [block.bn2]


def test_vit_has_no_norm():
    assert norms(vit(), "level-2:preact", "pooled")[0] is None
