"""Biases are whole steps of their layer's sums, and fit the runtimes' 32 bits."""

import copy

import numpy as np
import pytest
import torch
from torch import nn

from potstill.quantization.convert import convert
from potstill.quantization.prepare import prepare
from potstill.quantization.round_biases import quantized_layers, round_biases
from tests.support.small_nets import build, calibrated, make_images, sqnr


def steps(layer, quantizer):
    """Return biases in steps, counted in plain numpy."""
    step = layer.scale.double().numpy() * float(quantizer.scale)
    return layer.bias.double().numpy() / step


@pytest.mark.parametrize("name", ["cifar_resnet", "mobilenet_v2", "efficientnet"])
def test_biases_are_whole_steps(name, monkeypatch):
    prepared = calibrated(build(name))
    monkeypatch.setattr("potstill.quantization.convert.round_biases", lambda _: None)
    before = convert(prepared)
    after = copy.deepcopy(before)
    round_biases(after)
    assert not quantized_layers(before)[0][0].bias.equal(quantized_layers(after)[0][0].bias)
    for (old, _), (new, quantizer) in zip(
        quantized_layers(before), quantized_layers(after), strict=True
    ):
        whole, given = steps(new, quantizer), steps(old, quantizer)
        np.testing.assert_allclose(whole, np.round(given), rtol=1e-6)
        assert torch.equal(new.weight, old.weight)
        assert torch.equal(new.scale, old.scale)


class Reached(nn.Module):
    """Layers whose input comes through steps that change nothing, and from one grid or two."""

    def __init__(self):
        super().__init__()
        self.first, self.twice = nn.Conv2d(3, 3, 1), nn.Conv2d(3, 3, 1)
        self.head = nn.Sequential(nn.Dropout(), nn.Flatten(), nn.Linear(768, 4))

    def forward(self, x):
        left, _ = self.first(x).chunk(2, 2)
        return self.head(torch.cat([self.twice(self.twice(x)), left.relu()], 2)[:, :, :16])


def test_the_input_of_a_layer_is_found_through_what_only_moves_it():
    deployed = convert(calibrated(Reached().eval()))
    named = {module: name for name, module in deployed.named_modules()}
    found = [(named[layer], named[quantizer]) for layer, quantizer in quantized_layers(deployed)]
    assert [layer for layer, _ in found] == ["first", "twice", "twice", "head.2"]
    assert found[0][1] == found[1][1] == "quantizers.after_x"
    assert found[2][1] not in (found[1][1], found[3][1])
    assert found[3][1] == "quantizers.after_twice_1"  # the one grid of what cat joins


def test_a_layer_called_on_two_grids_keeps_its_bias():
    torch.manual_seed(0)
    prepared = calibrated(Reached().eval())
    assert torch.equal(convert(prepared).twice.bias, prepared.twice.bias)
    assert not torch.equal(convert(prepared).first.bias, prepared.first.bias)


@pytest.mark.parametrize("bias", [0.3, -2.0, 50.0])
@torch.no_grad()
def test_a_faint_filter_with_a_large_bias_fits(bias):
    """A filter that was zeroed has the smallest scale there is, and its bias would overflow."""
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Flatten(), nn.Linear(1568, 4))
    network[0].weight[2], network[0].bias[2] = 0, bias
    network[0].weight[3] *= 1e-9
    network[0].bias[3] = bias
    prepared, x = calibrated(network.eval()), make_images(4)
    deployed = convert(prepared)
    layer, quantizer = quantized_layers(deployed)[0]
    assert np.abs(steps(layer, quantizer)).max() < 1.001 * 2**30
    torch.testing.assert_close(layer.bias, network[0].bias, atol=1e-3, rtol=1e-6)
    assert sqnr(prepared(x), deployed(x)) > 30


def test_the_shape_of_an_untrained_network_is_left_alone():
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU())
    layer = convert(prepare(network)).get_submodule("0")
    assert torch.equal(layer.bias, network[0].bias)
