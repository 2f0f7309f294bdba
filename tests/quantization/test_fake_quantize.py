"""Rounding and moving ranges, against torchao's observers and plain arithmetic."""

import copy

import numpy as np
import pytest
import torch
from torchao.quantization.pt2e import (
    MinMaxObserver,
    MovingAverageMinMaxObserver,
    PerChannelMinMaxObserver,
)

from potstill.quantization.fake_quantize import (
    ActivationQuantizer,
    affine,
    fake_weight,
    weight_scale,
)
from potstill.quantization.scheme import SMALLEST_ACTIVATION_SCALE


def draw(*shape, seed=0, low=-1.0, high=1.0):
    generator = torch.Generator().manual_seed(seed)
    return low + (high - low) * torch.rand(*shape, generator=generator)


def theirs(observer, **settings):
    affine_grid = {"dtype": torch.int8, "quant_min": -128, "quant_max": 127, "eps": 2**-12}
    return observer(qscheme=torch.per_tensor_affine, **affine_grid, **settings)


def by_hand(x, scale, zero_point):
    """Return `x` on the grid, in float64 with numpy's rounding."""
    codes = np.rint(x.double().numpy() / float(scale)) + int(zero_point)
    return torch.from_numpy((np.clip(codes, -128, 127) - int(zero_point)) * float(scale)).float()


RANGES = [(-1.0, 3.0), (0.0, 6.0), (0.5, 2.0), (-4.0, -1.0), (-1e-6, 1e-6), (-0.37, 0.0)]


@pytest.mark.parametrize(("low", "high"), RANGES)
def test_the_grid_is_torchaos(low, high):
    x = torch.cat([draw(100, low=low, high=high), torch.tensor([low, high])])
    observer = theirs(MinMaxObserver)
    observer(x)
    scale, zero_point = observer.calculate_qparams()
    ours = affine(*torch.aminmax(x))
    torch.testing.assert_close(ours[0], scale[0], rtol=1e-6, atol=0)
    assert ours[1] == zero_point[0]


@pytest.mark.parametrize(("low", "high"), RANGES)
def test_zero_is_exact_and_the_error_half_a_step(low, high):
    quantizer = ActivationQuantizer(0.1).train()
    x = draw(1000, low=low, high=high)
    rounded = quantizer(x)
    scale, zero_point = quantizer.grid()
    assert scale >= SMALLEST_ACTIVATION_SCALE
    torch.testing.assert_close(rounded, by_hand(x, scale, zero_point), rtol=1e-6, atol=1e-7)
    assert (rounded - x).abs().max() <= 0.5 * scale * (1 + 1e-4) or scale > (high - low) / 255
    assert quantizer(torch.zeros(3)).eq(0).all()


def test_the_range_is_torchaos_moving_average():
    quantizer = ActivationQuantizer(0.05).train()
    observer = theirs(MovingAverageMinMaxObserver, averaging_constant=0.05)
    for step in range(5):
        x = draw(50, seed=step, low=-1 - step, high=2 + step)
        quantizer(x)
        observer(x)
    torch.testing.assert_close(quantizer.lo[0], observer.min_val)
    torch.testing.assert_close(quantizer.hi[0], observer.max_val)


def test_evaluation_and_a_switch_keep_the_range():
    quantizer = ActivationQuantizer(0.5).train()
    quantizer(draw(50))
    before = quantizer.state_dict()["hi"].clone()
    quantizer.eval()(10 * draw(50))
    quantizer.train().observing.fill_(False)
    clipped = quantizer(10 * draw(50))
    assert torch.equal(quantizer.hi, before)
    assert clipped.max() <= before[0] * 1.01


def test_without_a_range_or_switched_off_nothing_changes():
    x, quantizer = draw(50), ActivationQuantizer(0.5)
    assert torch.equal(quantizer.eval()(x), x)
    quantizer.train().faking.fill_(False)
    assert torch.equal(quantizer(x), x)
    quantizer.faking.fill_(True)
    assert not torch.equal(quantizer(x), x)


def test_gradients_pass_straight_through_inside_the_range():
    quantizer = ActivationQuantizer(1.0)
    quantizer.set_range(-1.0, 1.0)
    x = torch.tensor([-3.0, -0.9, 0.0, 0.3, 0.9, 3.0], requires_grad=True)
    (quantizer.eval()(x) * torch.arange(1.0, 7.0)).sum().backward()
    assert x.grad.tolist() == [0, 2, 3, 4, 5, 0]


def test_members_share_a_grid_that_spans_them_all():
    quantizer = ActivationQuantizer(0.5, members=2).train()
    narrow, wide = draw(50), draw(50, seed=1, low=-4, high=8)
    quantizer(narrow, 0)
    quantizer(wide, 1)
    scale, zero_point = quantizer.grid()
    expected = affine(wide.min(), wide.max())
    assert (scale, zero_point) == expected
    torch.testing.assert_close(quantizer(narrow, 0), by_hand(narrow, *expected))
    assert quantizer.hi.tolist() == [narrow.max(), wide.max()]


def test_only_pre_hooks_fire_at_a_call_of_the_graph():
    quantizer, calls = ActivationQuantizer(0.5), []
    quantizer.register_forward_pre_hook(lambda module, args: calls.append(args[0]))
    quantizer.register_forward_hook(lambda *_: calls.append("after"))
    x = draw(3)
    quantizer.quantize(x)
    assert len(calls) == 1
    assert calls[0] is x


def test_a_copy_and_a_state_dict_go_on_bit_by_bit():
    quantizer = ActivationQuantizer(0.3).train()
    quantizer(draw(50))
    copied, loaded = copy.deepcopy(quantizer), ActivationQuantizer(0.3).train()
    loaded.load_state_dict(quantizer.state_dict())
    x = draw(50, seed=1, low=-3)
    expected = quantizer(x)
    for other in (copied, loaded):
        assert torch.equal(other(x), expected)
        assert torch.equal(other.lo, quantizer.lo)


@pytest.mark.parametrize("shape", [(6, 3, 3, 3), (4, 7)])
def test_weights_are_rounded_as_torchao_does(shape):
    weight = draw(*shape)
    weight[1] = 0  # a channel that pruning has emptied
    observer = PerChannelMinMaxObserver(
        ch_axis=0, dtype=torch.int8, quant_min=-127, quant_max=127,
        qscheme=torch.per_channel_symmetric, eps=2**-24,
    )  # fmt: skip
    observer(weight)
    scale, _ = observer.calculate_qparams()
    torch.testing.assert_close(weight_scale(weight), scale, rtol=1e-6, atol=0)
    codes = torch.round(weight / scale.view(-1, *[1] * (len(shape) - 1)))
    assert codes.abs().amax() == 127
    expected = codes * scale.view(-1, *[1] * (len(shape) - 1))
    torch.testing.assert_close(fake_weight(weight), expected)


def test_the_gradient_of_every_weight_passes():
    weight = draw(4, 7).requires_grad_()
    fake_weight(weight).sum().backward()
    assert torch.equal(weight.grad, torch.ones(4, 7))


def test_half_precision_keeps_its_type():
    quantizer = ActivationQuantizer(0.5).train()
    x = draw(64).bfloat16()
    rounded = quantizer(x)
    assert rounded.dtype == torch.bfloat16
    assert quantizer.lo.dtype == torch.float32
    torch.testing.assert_close(rounded.float(), x.float(), rtol=0, atol=2 / 255)
