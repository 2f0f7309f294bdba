"""Paddings of int8 convolutions that repeat pixels."""

import pytest
import torch
from torch import nn

from potstill.quantization.convert import convert
from potstill.quantization.graph.paddings import pad_apart
from potstill.quantization.graph.trace import trace_layers
from potstill.quantization.layers import QuantConv2d, swap_class
from potstill.quantization.post_training import quantize_static
from tests.support.small_nets import make_images, sqnr


@pytest.mark.parametrize("mode", ["reflect", "replicate", "circular"])
@torch.no_grad()
def test_padding_apart_changes_no_value_and_stays_on_the_grid(mode):
    torch.manual_seed(0)
    conv = nn.Conv2d(3, 4, 3, padding=(1, 2), padding_mode=mode)
    network, x = nn.Sequential(conv, nn.ReLU()).eval(), make_images(4)
    expected = network(x)
    traced = trace_layers(nn.Sequential(conv, nn.ReLU()))
    swap_class(traced.get_submodule("0"), QuantConv2d, faking=False)
    pad_apart(traced)
    traced.recompile()
    assert torch.equal(traced(x), expected)


@pytest.mark.parametrize("mode", ["reflect", "replicate", "circular"])
@torch.no_grad()
def test_the_converted_network_pads_as_the_float_one(mode):
    torch.manual_seed(0)
    conv, pool = nn.Conv2d(3, 4, 3, padding=2, padding_mode=mode), nn.AdaptiveAvgPool2d(4)
    network = nn.Sequential(conv, nn.ReLU(), pool, nn.Flatten(), nn.Linear(64, 5))
    prepared, x = quantize_static(network.eval(), [make_images(16)]), make_images(4)
    assert sqnr(network(x), convert(prepared)(x)) > 30
    assert network[0].padding_mode == mode  # the network itself is as it was
