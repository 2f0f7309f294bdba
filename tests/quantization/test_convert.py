"""The deployed network is the one that trained: every family, and through a checkpoint."""

import copy

import pytest
import torch
from torch import nn

from potstill.errors import ConfigError
from potstill.quantization.convert import (
    convert,
    is_converted,
    split_dequantize,
    with_activations,
)
from potstill.quantization.converted_layers import ConvertedConv2d, ConvertedLinear
from potstill.quantization.graph.operators import DEQUANTIZE
from potstill.quantization.observers import activation_quantizers
from potstill.quantization.prepare import prepare
from tests.support import digits_net
from tests.support.small_nets import FAMILIES, TIMM, build, calibrated, make_images, sqnr


@pytest.fixture
def biases_as_they_are(monkeypatch):
    """Rounded ones move values across many borders; what is tested here is all the rest."""
    monkeypatch.setattr("potstill.quantization.convert.round_biases", lambda _: None)


@pytest.mark.usefixtures("biases_as_they_are")
@pytest.mark.parametrize("name", [*FAMILIES, *TIMM])
@torch.no_grad()
def test_the_trained_network_is_the_deployed_one(name):
    prepared, x = calibrated(build(name)), make_images(16, seed=9)
    expected, found = prepared(x), convert(prepared)(x)
    # Rounding of float sums moves few values to the next step, and only in the large networks.
    assert sqnr(expected, found) >= 30
    assert expected.std() > 20 * (expected - found).abs().mean()


def test_on_real_images_nothing_is_lost():
    network, (images, _) = digits_net.trained(), digits_net.make_images(test=True)
    prepared = prepare(network)
    for quantizer in activation_quantizers(prepared):
        quantizer.training = True
    with torch.no_grad():
        prepared(digits_net.make_images()[0][:256])
        networks = {"float": network, "fake": prepared.eval(), "int8": convert(prepared)}
        logits = {name: network(images) for name, network in networks.items()}
    accuracy = {name: digits_net.accuracy(value) for name, value in logits.items()}
    assert accuracy["float"] > 80
    assert abs(accuracy["float"] - accuracy["int8"]) <= 1
    digits_net.assert_steps_apart(prepared, logits["fake"], logits["int8"])
    assert sqnr(logits["float"], logits["int8"]) >= 20


@torch.no_grad()
def test_a_state_dict_fills_the_deployed_form_of_an_untrained_network():
    trained = convert(calibrated(build("efficientnet")))
    torch.manual_seed(7)
    skeleton, x = convert(prepare(FAMILIES["efficientnet"]())), make_images(4)
    with pytest.raises(ConfigError, match=r"ranges of activations are not known.*Fix: "):
        skeleton(x)
    skeleton.load_state_dict(copy.deepcopy(trained.state_dict()))
    assert torch.equal(skeleton(x), trained(x))
    unsigned = convert(prepare(FAMILIES["efficientnet"]()), "uint8")
    unsigned.load_state_dict(trained.state_dict())
    assert torch.equal(unsigned(x), trained(x))


def test_weights_are_int8_and_batch_norm_is_gone():
    prepared = calibrated(build("cifar_resnet"))
    deployed, before = convert(prepared), copy.deepcopy(prepared.state_dict())
    assert is_converted(deployed)
    assert not is_converted(prepared)
    state = deployed.state_dict()
    assert state["layer1.0.conv1.weight"].dtype == torch.int8
    assert state["layer1.0.conv1.scale"].shape == state["layer1.0.conv1.bias"].shape
    assert not [m for m in deployed.modules() if isinstance(m, nn.BatchNorm2d | nn.Conv2d)]
    assert not list(deployed.parameters())
    # One byte a weight, four a scale and a bias, eight a range: 0.25 and a little of float32.
    size = sum(v.numel() * v.element_size() for v in state.values())
    assert size < 0.27 * sum(4 * p.numel() for p in prepared.parameters())
    assert all(torch.equal(value, before[name]) for name, value in prepared.state_dict().items())


def test_uint8_is_the_same_network():
    deployed, x = convert(calibrated(build("resnet"))), make_images(4)
    unsigned = with_activations(deployed, "uint8")
    assert torch.equal(unsigned(x), deployed(x))
    codes = {
        node.args[-1]
        for node in torch.export.export(unsigned, (x,)).graph.nodes
        if node.target is DEQUANTIZE
    }
    assert codes == {torch.uint8}


@pytest.mark.usefixtures("biases_as_they_are")
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("affine", [True, False])
@torch.no_grad()
def test_folding_is_exact_whatever_the_signs(bias, affine):
    torch.manual_seed(0)
    network = nn.Sequential(
        nn.Conv2d(3, 6, 3, bias=bias), nn.BatchNorm2d(6, eps=1e-3, affine=affine), nn.ReLU()
    )
    network[1].running_mean.normal_()
    network[1].running_var.uniform_(0.1, 3)
    if affine:
        network[1].weight.copy_(torch.tensor([-1.5, 0.0, 1e-3, 1.0, 2.0, -0.1]))
        network[1].bias.normal_()
    prepared = calibrated(network.eval())
    x = make_images(4)
    expected = prepared(x)
    step = activation_quantizers(prepared)[-1].grid()[0]
    differences = (convert(prepared)(x) - expected).abs()
    assert differences.max() <= step * 1.001  # one code at most, where a sum fell on the border
    assert (differences > 0).float().mean() < 1e-3


@torch.no_grad()
def test_batch_norm_without_a_convolution_becomes_one():
    torch.manual_seed(0)
    network = nn.Sequential(nn.BatchNorm2d(3), nn.ReLU(), nn.Conv2d(3, 4, 1), nn.Flatten())
    nn.init.normal_(network[0].weight)
    prepared, x = calibrated(network.eval()), make_images(4)
    deployed = convert(prepared)
    layers = [m for m in deployed.modules() if isinstance(m, ConvertedConv2d)]
    assert [layer.groups for layer in layers] == [3, 1]
    assert layers[0].weight.abs().eq(127).all()
    assert sqnr(prepared(x), deployed(x)) > 40


class Twice(nn.Module):
    """One convolution called twice, followed by one batch-norm or by two."""

    def __init__(self, norms):
        super().__init__()
        self.conv, self.norms = nn.Conv2d(3, 3, 1), nn.ModuleList(norms)

    def forward(self, x):
        return self.norms[-1](self.conv(self.norms[0](self.conv(x)).relu())).relu()


@torch.no_grad()
def test_a_convolution_called_twice_is_folded_once():
    torch.manual_seed(0)
    norm = nn.BatchNorm2d(3)
    nn.init.normal_(norm.weight)
    prepared, x = calibrated(Twice([norm]).eval()), make_images(4)
    assert sqnr(prepared(x), convert(prepared)(x)) > 40
    with pytest.raises(ConfigError, match=r"conv is called twice.*Fix: "):
        convert(calibrated(Twice([norm, nn.BatchNorm2d(3)]).eval()))


def test_every_consumer_gets_a_dequantize_of_its_own():
    deployed, x = convert(calibrated(build("cifar_resnet"))), make_images(2)
    exported = torch.export.export(deployed, (x,)).module()
    expected = exported(x)

    def most_users():
        return max(len(n.users) for n in exported.graph.nodes if n.target is DEQUANTIZE)

    assert most_users() == 2
    assert torch.equal(split_dequantize(exported)(x), expected)
    assert most_users() == 1


@torch.no_grad()
def test_a_linear_layer_keeps_its_bias_to_half_a_step():
    torch.manual_seed(0)
    prepared = calibrated(nn.Sequential(nn.Flatten(), nn.Linear(768, 3)))
    layer = convert(prepared).get_submodule("1")
    assert isinstance(layer, ConvertedLinear)
    step = layer.scale * activation_quantizers(prepared)[0].grid()[0]
    moved = (layer.bias - prepared.get_submodule("1").bias).abs() / step
    assert 0 < moved.max() < 0.51


@pytest.mark.parametrize(
    ("network", "activations", "wrong"),
    [(nn.Linear(2, 2), "int8", "model"), (nn.Linear(2, 2), "int16", "activations=int16")],
)
def test_misuse_is_one_line(network, activations, wrong):
    with pytest.raises(ConfigError, match=f"{wrong}.*Fix: "):
        convert(network, activations)
