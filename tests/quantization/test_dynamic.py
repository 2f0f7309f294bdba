"""Dynamic int8 against integers added one by one, and against torchao."""

import warnings

import pytest
import torch
from safetensors.torch import load, save
from torch import nn

from potstill.errors import ConfigError
from potstill.quantization.dynamic import DynamicLinear, quantize_dynamic


def linear(out=6, inputs=20, bias=True):
    torch.manual_seed(0)
    return nn.Linear(inputs, out, bias=bias)


def quantized_row(row):
    """Return (integers, scale, zero point) of a row of floats, as XNNPACK chooses them."""
    lo, hi = min(0.0, *row), max(0.0, *row)
    scale = (hi - lo) / 255
    from_lo, from_hi = -128 - lo / scale, 127 - hi / scale
    zero = round(from_lo if (-128 + lo / scale) + (127 + hi / scale) > 0 else from_hi)
    return [min(127, max(-128, round(x / scale) + zero)) for x in row], scale, zero


@pytest.mark.parametrize("bias", [True, False])
def test_output_is_a_sum_of_integers(bias):
    layer, x = linear(bias=bias), torch.randn(5, 20, generator=torch.Generator().manual_seed(1))
    found = quantize_dynamic(nn.Sequential(layer))[0](x)
    for i, row in enumerate(x.tolist()):
        q, scale, zero = quantized_row(row)
        for j, weights in enumerate(layer.weight.tolist()):
            unit = max(abs(w) for w in weights) / 127
            total = sum((a - zero) * round(w / unit) for a, w in zip(q, weights, strict=True))
            expected = total * scale * unit + (layer.bias[j].item() if bias else 0.0)
            assert found[i, j].item() == pytest.approx(expected, abs=2e-6)
    exact = layer(x)
    assert (found - exact).abs().max() < 0.02 * exact.abs().max()


def sqnr(exact, found):
    return 10 * torch.log10(exact.square().sum() / (exact - found).square().sum()).item()


def test_as_good_as_torchao(monkeypatch):
    from torchao.quantization import Int8DynamicActivationInt8WeightConfig, quantize_

    # oneDNN's own product of int8 saturates at int16 on processors without VNNI.
    monkeypatch.setattr(torch, "_int_mm", lambda a, b: a.int() @ b.int())
    torch.manual_seed(0)
    net, x = nn.Sequential(nn.Linear(128, 64), nn.ReLU(), nn.Linear(64, 10)), torch.randn(64, 128)
    quantized, _ = quantize_dynamic(net)
    exact, ours = net(x), quantized(x)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        quantize_(net, Int8DynamicActivationInt8WeightConfig())
        theirs = net(x)
    # Theirs is symmetric, and half of every range after the ReLU is lost.
    assert sqnr(exact, theirs) - 0.5 < sqnr(exact, ours) < sqnr(exact, theirs) + 6
    # Its scale is a 127.5th of the greatest weight, ours a 127th, so that 0 is in the middle.
    codes = quantized[0].weight.int() - net[0].weight.qdata.int()
    assert codes.abs().max() <= 1


def test_share_by_hand_and_the_network_is_left_alone(tiny):
    net = tiny()
    before = {name: value.clone() for name, value in net.state_dict().items()}
    quantized, share = quantize_dynamic(net)
    assert share == (4 * 5) / (3 * 4 * 9 + 2 * 4 + 4 * 5 + 5)
    assert isinstance(net.fc, nn.Linear)
    assert net.training
    assert not quantized.training
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())
    assert isinstance(quantized.fc, DynamicLinear)
    assert type(quantized.conv) is nn.Conv2d


def test_a_file_brings_it_back(tiny):
    one, other = quantize_dynamic(tiny(seed=0))[0], quantize_dynamic(tiny(seed=1))[0]
    x = torch.randn(3, 3, 16, 16)
    state = load(save(one.state_dict()))
    assert state["fc.weight"].dtype == torch.int8
    assert not torch.equal(one(x), other(x))
    other.load_state_dict(state)
    assert torch.equal(one(x), other(x))


def test_attention_reads_its_own_weight():
    attention = nn.MultiheadAttention(8, 2, batch_first=True)

    class Block(nn.Module):
        def __init__(self):
            super().__init__()
            self.attention, self.mlp = attention, nn.Linear(8, 8)

        def forward(self, x):
            return self.mlp(self.attention(x, x, x, need_weights=False)[0])

    net, x = Block().eval(), torch.randn(2, 5, 8)
    found = quantize_dynamic(net)[0](x)
    assert sqnr(net(x), found) > 30


def test_nothing_to_quantize():
    with pytest.raises(ConfigError, match="no linear layer"):
        quantize_dynamic(nn.Conv2d(3, 4, 3))
