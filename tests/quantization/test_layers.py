"""Rounding the weights commutes with folding batch-norm; batch-norm itself is torch's."""

import copy

import pytest
import torch
from torch import nn

from potstill.quantization.fake_quantize import fake_weight
from potstill.quantization.layers import (
    FreezableBatchNorm2d,
    NormAct,
    QuantConv2d,
    QuantLinear,
    swap_class,
)


def turn(module, kind, **switches):
    copied = copy.deepcopy(module)
    swap_class(copied, kind, **switches)
    return copied


CONVOLUTIONS = [
    {"padding": 1},
    {"stride": 2, "bias": False},
    {"groups": 4},
    {"groups": 2, "dilation": 2, "padding": "same"},
    {"padding": 1, "padding_mode": "reflect"},
]


@pytest.mark.parametrize("settings", CONVOLUTIONS)
def test_a_convolution_computes_with_rounded_weights(settings):
    torch.manual_seed(0)
    conv, x = nn.Conv2d(4, 8, 3, **settings), torch.randn(2, 4, 9, 9)
    quant = turn(conv, QuantConv2d, faking=True)
    assert isinstance(quant, nn.Conv2d)
    assert set(quant.state_dict()) == {*conv.state_dict(), "faking"}
    reference = copy.deepcopy(conv)
    reference.weight.data = fake_weight(conv.weight.data)
    assert torch.equal(quant(x), reference(x))
    quant.faking.fill_(False)
    assert torch.equal(quant(x), conv(x))


def test_a_linear_layer_computes_with_rounded_weights():
    torch.manual_seed(0)
    linear, x = nn.Linear(6, 3), torch.randn(2, 6)
    quant = turn(linear, QuantLinear, faking=True)
    expected = x @ fake_weight(linear.weight).T + linear.bias
    torch.testing.assert_close(quant(x), expected)
    quant.faking.fill_(False)
    assert torch.equal(quant(x), linear(x))


def test_rounding_before_folding_is_rounding_after_it():
    torch.manual_seed(0)
    weight, factor = torch.randn(6, 3, 3, 3), torch.randn(6).view(-1, 1, 1, 1)
    torch.testing.assert_close(fake_weight(weight * factor), fake_weight(weight) * factor)


def norms():
    torch.manual_seed(0)
    norm = nn.BatchNorm2d(3, eps=1e-3, momentum=0.03)
    nn.init.normal_(norm.weight)
    return norm, turn(norm, FreezableBatchNorm2d, frozen=False)


def test_batch_norm_is_torchs_until_it_is_frozen():
    norm, ours = norms()
    for step in range(3):
        x = torch.randn(4, 3, 5, 5) + step
        assert torch.equal(ours.train()(x), norm.train()(x))
        assert torch.equal(ours.running_var, norm.running_var)
    assert torch.equal(ours.eval()(x), norm.eval()(x))
    assert (ours.eps, ours.momentum) == (1e-3, 0.03)


def test_frozen_batch_norm_is_torchs_in_evaluation_and_still_learns():
    norm, ours = norms()
    ours.frozen.fill_(True)
    x = torch.randn(4, 3, 5, 5) + 2
    assert torch.equal(ours.train()(x), norm.eval()(x))
    assert ours.running_mean.eq(0).all()
    assert ours.num_batches_tracked == 0
    ours(x).square().sum().backward()
    assert ours.weight.grad.abs().min() > 0


def test_norm_act_is_its_three_layers():
    norm, _ = norms()
    x = torch.randn(4, 3, 5, 5)
    split = NormAct(copy.deepcopy(norm), nn.Identity(), nn.SiLU())
    assert torch.equal(split(x), nn.functional.silu(norm(x)))
