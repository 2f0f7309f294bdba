"""Layers by the error each adds: against a network quantized by hand, and one that is spoilt."""

import math

import pytest
import torch
from torch import nn

import potstill
from potstill.errors import ConfigError
from tests.support.exported_nets import make_images, small
from tests.support.small_nets import build


def test_one_layer_by_hand():
    """Weights and input of a linear layer, rounded without anything of ours but the grid."""
    torch.manual_seed(0)
    network, images = nn.Sequential(nn.Flatten(), nn.Linear(48, 4)), torch.rand(16, 3, 4, 4)
    weight, bias = network[1].weight.detach(), network[1].bias.detach()
    exact = images.flatten(1) @ weight.T + bias
    step = weight.abs().amax(1, keepdim=True) / 127
    x = rounded(images.flatten(1))
    logits = rounded(x @ (torch.round(weight / step) * step).T + bias)
    clean, noise = (v - v.mean(1, keepdim=True) for v in (exact, exact - logits))
    expected = 10 * math.log10(clean.square().sum() / noise.square().sum())
    (error,) = potstill.quantization.sensitivity(network, images)
    assert error.layer == "1"
    assert error.sqnr_db == pytest.approx(expected, abs=0.05)


def rounded(x):
    lo, hi = min(0.0, x.min().item()), x.max().item()
    scale = (hi - lo) / 255
    zero = round(-lo / scale)
    return (torch.clamp(torch.round(x / scale) + zero, 0, 255) - zero) * scale


def test_a_layer_whose_grid_one_weight_stretches_is_the_worst():
    network, images = small(), make_images()
    with torch.no_grad():
        network.bn1.weight[0], network.bn1.bias[0] = 0.0, -1.0  # ReLU leaves zeros: nothing is
        expected = network(images)
        network.conv2.weight[:, 0] = 60.0  # multiplied, and the others fall between two steps
        assert torch.equal(network(images), expected)
    found = potstill.sensitivity(network, images)
    assert found[0].layer == "conv2"
    assert {error.layer for error in found} == {"conv1", "conv2", "conv3", "linear"}
    assert [e.sqnr_db for e in found] == sorted(e.sqnr_db for e in found)
    kept = potstill.sensitivity(network, make_images(), keep_float=["conv2"])
    assert [e for e in found if e.layer != "conv2"] == kept


def test_a_batch_norm_alone_is_a_layer_and_the_network_stays():
    network = build("wide_resnet")
    before = {key: value.clone() for key, value in network.state_dict().items()}
    layers = {error.layer for error in potstill.sensitivity(network.train(), make_images(4))}
    assert "block1.layer.0.bn1" in layers  # before a convolution, after a sum
    assert "block1.layer.0.bn2" not in layers  # part of the convolution before it
    assert network.training
    assert all(torch.equal(before[key], value) for key, value in network.state_dict().items())


def test_nothing_to_quantize():
    with pytest.raises(ConfigError, match="model: has no convolution or linear layer"):
        potstill.sensitivity(nn.Sequential(nn.Flatten(), nn.ReLU()), make_images(2))
