"""Int8 layers against plain arithmetic on their integers."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from potstill.errors import ConfigError
from potstill.quantization.converted_layers import (
    ConvertedConv2d,
    ConvertedLinear,
    ConvertedQuantizer,
    quantize_weight,
)
from potstill.quantization.fake_quantize import ActivationQuantizer, fake_weight, weight_scale
from potstill.quantization.scheme import SMALLEST_WEIGHT_SCALE


def weight(*shape):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0))


def test_integers_are_those_of_training_with_the_sign_of_the_factor():
    w, factor = weight(3, 5), torch.tensor([2.0, -0.5, 1e-3])
    codes, scale = quantize_weight(w, factor)
    trained = torch.round(w / weight_scale(w).view(-1, 1))
    assert codes.dtype == torch.int8
    assert torch.equal(codes.float(), trained * torch.tensor([[1.0], [-1.0], [1.0]]))
    torch.testing.assert_close(scale, weight_scale(w) * factor.abs())
    folded = fake_weight(w) * factor.view(-1, 1)
    torch.testing.assert_close(codes * scale.view(-1, 1), folded)


def test_faint_and_dead_channels_stay_within_what_runtimes_take():
    w = torch.ones(3, 4)
    codes, scale = quantize_weight(w, torch.tensor([0.0, 1e-30, 1.0]))
    assert scale.min() == SMALLEST_WEIGHT_SCALE
    assert codes[:2].eq(0).all()
    assert codes[2].eq(127).all()
    faint = 20 * SMALLEST_WEIGHT_SCALE  # the largest weight is 20 steps of the smallest scale
    codes, scale = quantize_weight(torch.tensor([[1.0, -0.5]]), torch.tensor([faint]))
    assert codes.tolist() == [[20, -10]]
    assert scale.item() == SMALLEST_WEIGHT_SCALE


@pytest.mark.parametrize("activations", ["int8", "uint8"])
@pytest.mark.parametrize(("lo", "hi"), [(-1.0, 3.0), (0.0, 6.0), (-2.0, -0.5)])
def test_a_quantizer_rounds_as_in_training(activations, lo, hi):
    trained = ActivationQuantizer(1.0).eval()
    trained.set_range(lo, hi)
    deployed = ConvertedQuantizer(*trained.grid(), activations)
    x = 4 * weight(1000)
    for rounded in (deployed.quantize(x, 1), deployed.keep(x)):
        torch.testing.assert_close(rounded, trained(x), rtol=1e-6, atol=1e-6)


def test_unknown_ranges_are_an_error_until_some_are_loaded():
    nan, zero = torch.tensor(torch.nan), torch.tensor(0, dtype=torch.int32)
    empty = ConvertedQuantizer(nan, zero, "int8")
    with pytest.raises(ConfigError, match=r"not known.*Fix: "):
        empty.quantize(weight(3))
    known = ConvertedQuantizer(torch.tensor(0.1), torch.tensor(5, dtype=torch.int32), "int8")
    empty.load_state_dict(known.state_dict())
    assert torch.equal(empty.quantize(weight(3)), known.quantize(weight(3)))
    assert isinstance(empty._scale, float)
    assert isinstance(empty._zero_point, int)


CONVOLUTIONS = [
    {"padding": 1},
    {"stride": 2, "groups": 4},
    {"dilation": 2, "padding": "same"},
]


@pytest.mark.parametrize("settings", CONVOLUTIONS)
def test_a_convolution_computes_with_its_integers(settings):
    conv, x = nn.Conv2d(4, 8, 3, **settings), weight(2, 4, 9, 9)
    codes, scale = quantize_weight(conv.weight.detach(), torch.ones(8))
    deployed = ConvertedConv2d(codes, scale, conv.bias.detach(), conv)
    conv.weight.data = codes * scale.view(-1, 1, 1, 1)
    torch.testing.assert_close(deployed(x), conv(x))
    assert {name: value.dtype for name, value in deployed.state_dict().items()} == {
        "weight": torch.int8, "scale": torch.float32, "bias": torch.float32
    }  # fmt: skip


def test_a_linear_layer_computes_with_its_integers():
    w = weight(3, 6)
    codes, scale = quantize_weight(w, torch.ones(3))
    x = weight(2, 6)
    expected = F.linear(x, codes * scale.view(-1, 1))
    torch.testing.assert_close(ConvertedLinear(codes, scale, None)(x), expected)
