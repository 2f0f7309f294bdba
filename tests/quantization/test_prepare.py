"""A prepared network is an ordinary network: names, modes, features, gradients."""

import copy

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from potstill.errors import ConfigError
from potstill.models.features.extractor import FeatureExtractor
from potstill.quantization.observers import activation_quantizers, set_faking, set_observing
from potstill.quantization.prepare import is_prepared, prepare
from potstill.quantization.scheme import Scheme
from tests.support.small_nets import FAMILIES, TIMM, build, calibrated, make_images

LAYERS = {
    "resnet": ("level1", "level-1", "pooled", "layer2", "layer3:preact", "layer2:input"),
    "cifar_resnet": ("level1", "level2", "layer1.0.bn2", "layer2:preact", "layer2.0.downsample"),
    "wide_resnet": ("level-1", "block1.layer.0", "block2:preact"),
    "mobilenet_v2": ("level-1", "features.1", "features.0:preact", "pooled"),
    "mobilenet_v3": ("level-1", "features.2.block.0:preact", "features.1.block.1", "pooled"),
    "densenet": ("level-1", "features.denseblock1.denselayer1", "pooled"),
    "vit": ("level1", "level-1", "encoder.layers.encoder_layer_0.mlp", "pooled"),
}
SWITCHES = ("faking", "frozen")


@pytest.mark.parametrize("name", LAYERS)
def test_every_feature_is_found_and_bit_equal_without_rounding(name):
    network, x = build(name), make_images(3)
    prepared = prepare(network)
    before, after = (
        FeatureExtractor(net, LAYERS[name], (3, 16, 16)) for net in (network, prepared)
    )
    assert after.sources == before.sources
    set_faking(prepared, False)
    ours, theirs = after(x), before(x)
    assert torch.equal(ours.logits, theirs.logits)
    for layer in LAYERS[name]:
        assert torch.equal(ours.features[layer], theirs.features[layer]), layer


def test_features_are_found_while_rounding_too():
    prepared, x = calibrated(build("resnet")), make_images(3)
    extractor = FeatureExtractor(prepared, LAYERS["resnet"], (3, 16, 16))
    assert (
        extractor.sources
        == FeatureExtractor(build("resnet"), LAYERS["resnet"], (3, 16, 16)).sources
    )
    assert extractor(x).features["layer3:preact"].min() < 0


@pytest.mark.parametrize("name", [*FAMILIES, *TIMM])
def test_names_stay_and_nothing_that_could_be_int8_is_left_out(name):
    network = build(name)
    keys, prepared = set(network.state_dict()), prepare(network)
    ours = {key for key in prepared.state_dict() if not key.startswith("quantizers.")}
    ours = {key for key in ours if not key.endswith(SWITCHES)}
    for path, module in network.named_modules():
        if isinstance(module, nn.BatchNorm2d) and any(module.children()):  # timm's, with its ReLU
            ours = {key.replace(f"{path}.norm.", f"{path}.") for key in ours}
    assert ours == keys
    assert not [m for m in prepared.modules() if type(m) in (nn.Conv2d, nn.Linear, nn.BatchNorm2d)]
    last = [m for m in prepared.modules() if isinstance(m, nn.Linear)]
    assert last or name == "squeezenet"


def test_the_original_the_random_state_and_the_settings_stay():
    network = build("efficientnet")
    network.features[1].train()
    before, state = copy.deepcopy(network), torch.get_rng_state()
    prepared = prepare(network)
    assert torch.equal(torch.get_rng_state(), state)
    assert repr(network) == repr(before)
    for name, module in prepared.named_modules():
        if isinstance(module, nn.BatchNorm2d | nn.Dropout):
            original = before.get_submodule(name)
            for setting in ("eps", "momentum", "p", "training"):
                assert getattr(module, setting, None) == getattr(original, setting, None)


def test_training_reaches_every_parameter_and_moves_every_range():
    network = build("mobilenet_v3").train()
    prepared = prepare(network, Scheme(momentum=0.5))
    before = copy.deepcopy(prepared)
    F.cross_entropy(prepared(make_images()), torch.arange(8) % 5).backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in prepared.parameters())
    assert all(q.seen.all() for q in activation_quantizers(prepared))
    assert not any(q.seen.any() for q in activation_quantizers(before))
    name = "features.0.1.running_mean"
    assert not torch.equal(prepared.state_dict()[name], before.state_dict()[name])


def test_the_first_gradients_are_near_those_in_float():
    network, x = build("cifar_resnet").train(), make_images()
    prepared = prepare(network)
    for net in (network, prepared):
        F.cross_entropy(net(x), torch.arange(8) % 5).backward()
    ours, theirs = (torch.cat([dict(net.named_parameters())[n].grad.flatten() for n, _ in
                    network.named_parameters()]) for net in (prepared, network))  # fmt: skip
    assert F.cosine_similarity(ours, theirs, dim=0) > 0.95
    assert not torch.equal(ours, theirs)


def test_a_copy_and_a_checkpoint_go_on_bit_by_bit():
    def step(network):
        optimizer = torch.optim.SGD(network.parameters(), 0.1)
        F.cross_entropy(network(make_images(seed=1)), torch.arange(8) % 5).backward()
        optimizer.step()
        return network.state_dict()

    prepared = prepare(build("cifar_resnet").train())
    prepared(make_images())
    copied, loaded = copy.deepcopy(prepared), prepare(build("cifar_resnet").train())
    loaded.load_state_dict(copy.deepcopy(prepared.state_dict()))
    expected = step(prepared)
    for other in (copied, loaded):
        assert all(torch.equal(value, expected[name]) for name, value in step(other).items())


class InPlace(nn.Module):
    """Overwrites what it has computed, in every way there is."""

    def __init__(self):
        super().__init__()
        self.conv, self.act = nn.Conv2d(3, 3, 1), nn.SiLU(inplace=True)

    def forward(self, x):
        y = F.relu(self.conv(x), inplace=True)
        y += x
        y = self.act(y).mul_(y)
        return torch.relu_(y).add_(x).relu_()


def test_in_place_operations_work_out_of_place():
    torch.manual_seed(0)
    network, x = InPlace(), make_images(2)
    prepared = prepare(network).train()
    given = x.clone()
    prepared(given).sum().backward()
    assert torch.equal(given, x)
    set_faking(prepared, False)
    assert torch.equal(prepared(x), network(x.clone()))


def test_a_layer_called_twice_has_a_range_for_each_call():
    class Twice(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv, self.relu = nn.Conv2d(3, 3, 1), nn.ReLU()

        def forward(self, x):
            return self.relu(self.conv(self.relu(self.conv(x)) * 1.0))

    names = [name for name, _ in prepare(Twice()).quantizers.named_children()]
    assert names == ["after_x", "after_relu", "after_mul", "after_relu_1"]


def test_switches_reach_everything():
    prepared, x = calibrated(build("resnet")), make_images(2)
    rounded = prepared(x)
    set_faking(prepared, False)
    assert not torch.equal(prepared(x), rounded)
    set_faking(prepared, True)
    assert torch.equal(prepared(x), rounded)
    set_observing(prepared, False)
    assert not any(q.observing for q in activation_quantizers(prepared))


def test_mixed_precision_trains():
    prepared = prepare(build("tiny_cnn").train())
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = F.cross_entropy(prepared(make_images()), torch.arange(8) % 5)
    loss.backward()
    assert all(p.grad.isfinite().all() for p in prepared.parameters())


def test_a_quantization_that_changes_nothing_is_an_error():
    with pytest.raises(ConfigError, match=r"no convolution or linear layer.*Fix: "):
        prepare(nn.Sequential(nn.ReLU(), nn.BatchNorm2d(3)))


def test_twice_is_an_error():
    prepared = prepare(build("tiny_cnn"))
    assert is_prepared(prepared)
    assert not is_prepared(build("tiny_cnn"))
    with pytest.raises(ConfigError, match=r"already.*Fix: "):
        prepare(prepared)
