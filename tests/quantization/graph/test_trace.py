"""A traced network computes what it did, and its containers are still hooked."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from potstill.errors import ConfigError
from potstill.models.features.trace import find_levels, find_pooled, trace
from potstill.quantization.graph.trace import trace_layers
from potstill.quantization.layers import ContainerHook
from tests.support.small_nets import build, make_images


class Inner(nn.Module):
    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(torch.tensor(3.0))
        self.conv = nn.Conv2d(3, 3, 1)

    def forward(self, x):
        return self.conv(x) * self.scale


class Outer(nn.Module):
    def __init__(self):
        super().__init__()
        self.inner = Inner()
        self.relu = nn.ReLU(inplace=True)

    def forward(self, x):
        return self.relu(self.inner(x) + x)


def test_a_container_reports_what_goes_in_and_what_comes_out():
    torch.manual_seed(0)
    network, x, seen = Outer(), torch.randn(2, 3, 4, 4), {}
    conv, scale = network.inner.conv, network.inner.scale
    traced = trace_layers(network)
    inner = traced.get_submodule("inner")
    assert isinstance(inner, ContainerHook)
    assert inner.conv is conv
    assert inner.scale is scale
    inner.register_forward_pre_hook(lambda _, args: seen.update(source=args[0]))
    inner.register_forward_hook(lambda _, args, output: seen.update(output=output))
    out = traced(x)
    assert seen["source"] is x
    torch.testing.assert_close(seen["output"], conv(x) * 3, rtol=0, atol=0)
    torch.testing.assert_close(out, (conv(x) * 3 + x).relu(), rtol=0, atol=0)


def test_names_of_parameters_and_modes_stay():
    network = build("mobilenet_v3")
    network.features[1].train()
    keys = set(network.state_dict())
    modes = {name: module.training for name, module in network.named_modules()}
    traced = trace_layers(network)
    assert set(traced.state_dict()) == keys
    found = {name: module.training for name, module in traced.named_modules()}
    assert all(modes[name] == mode for name, mode in found.items())


@pytest.mark.parametrize("name", ["resnet", "mobilenet_v2", "densenet", "vit", "convnext"])
def test_the_same_stages_are_found(name):
    network, x = build(name), make_images(2)
    expected = trace(network, x)
    events = trace(trace_layers(network), x)
    assert find_levels(events) == find_levels(expected)
    assert find_pooled(events) == find_pooled(expected)


class TrainsOtherwise(nn.Module):
    def forward(self, x):
        return F.dropout(x, 0.5, self.training)


class Conditional(nn.Module):
    def forward(self, x):
        return x if x.sum() > 0 else -x


def test_a_layer_that_trains_otherwise_stays_whole():
    network = trace_layers(nn.Sequential(TrainsOtherwise(), nn.Conv2d(3, 3, 1)))
    x = torch.ones(2, 3, 4, 4)
    assert network.eval()(x).equal(network.get_submodule("1")(x))
    assert not network.train()(x).equal(network.get_submodule("1")(x))


class DropsOutside(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 3, 1)

    def forward(self, x):
        return F.dropout(self.conv(x), 0.5, self.training)


def test_dropout_by_a_function_follows_the_mode():
    network, x = DropsOutside(), torch.randn(2, 3, 8, 8)
    keys, conv = set(network.state_dict()), network.conv
    traced = trace_layers(network)
    assert set(traced.state_dict()) == keys
    assert torch.equal(traced.eval()(x), conv(x))
    assert 0.3 < (traced.train()(x) == 0).float().mean() < 0.7


class AlwaysDrops(DropsOutside):
    def forward(self, x):
        return F.dropout(self.conv(x), 0.5, True)


def test_dropout_that_never_rests_goes_on():
    traced = trace_layers(AlwaysDrops()).eval()
    assert 0.3 < (traced(torch.randn(2, 3, 8, 8)) == 0).float().mean() < 0.7


class Around(nn.Module):
    """A container that cannot be traced, in two others that can."""

    def __init__(self, inner):
        super().__init__()
        self.first = nn.Conv2d(3, 3, 1)
        self.body = nn.Sequential(nn.Conv2d(3, 3, 1), inner)
        self.last = nn.Conv2d(3, 3, 1)

    def forward(self, x, scale=None, flip=False):
        x = self.last(self.body(self.first(x)) + 1.0)
        x = x if scale is None else x * scale
        return x.flip(1) if flip else x


class Squares(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 3, 1)

    def forward(self, x):
        return self.conv(x) if x.shape[2] == x.shape[3] else x


class Counts(Squares):
    def forward(self, x):
        return self.conv(x) * len(x)


class TrainsItsOwnWay(Squares):
    def forward(self, x):
        return self.conv(x) if self.training else self.conv(x) * 2


@pytest.mark.parametrize("inner", [Squares, Counts, TrainsItsOwnWay])
def test_the_innermost_that_cannot_be_traced_stays_whole(inner, caplog):
    torch.manual_seed(0)
    network, x = Around(inner()), torch.randn(2, 3, 8, 8)
    expected = {mode: network.train(mode)(x) for mode in (True, False)}
    traced = trace_layers(network)
    called = {str(node.target) for node in traced.graph.nodes if node.op == "call_module"}
    assert called == {"first", "body.0", "body.1", "body", "last"}
    assert isinstance(traced.get_submodule("body.1"), inner)
    for mode, wanted in expected.items():
        torch.testing.assert_close(traced.train(mode)(x), wanted, rtol=0, atol=0)
    assert "1 of 4 convolutions and linear layers stay in float32, those in body.1," in caplog.text


class Auxiliary(Squares):
    def forward(self, x):
        y = self.conv(x)
        return (y, y.mean()) if self.training else y


class WhollyConditional(Squares):
    pass


@pytest.mark.parametrize(
    ("network", "reason"),
    [
        (Conditional(), "Conditional.*control flow"),
        (WhollyConditional(), "WhollyConditional.*control flow"),
        (Auxiliary(), "Auxiliary.*`training`"),
    ],
)
def test_what_cannot_be_traced_is_one_line(network, reason):
    with pytest.raises(ConfigError, match=f"model={reason}.*Fix: ") as caught:
        trace_layers(network)
    assert "\n" not in str(caught.value)
    assert network.training


def test_what_is_not_trained_may_do_otherwise_in_training():
    network, x = Auxiliary(), torch.randn(2, 3, 8, 8)
    expected = network.eval()(x)
    torch.testing.assert_close(trace_layers(network, trains=False)(x), expected, rtol=0, atol=0)


class Remembers(Squares):
    """Keeps what it computes in evaluation, as timm's attention does with its biases."""

    def __init__(self):
        super().__init__()
        self.bias, self.cache = nn.Parameter(torch.ones(3, 1, 1)), {}

    def forward(self, x):
        if torch.jit.is_tracing() or self.training:
            return self.conv(x) + self.bias * 2
        if "bias" not in self.cache:
            self.cache["bias"] = self.bias * 2
        return self.conv(x) + self.cache["bias"]


def test_what_is_kept_between_evaluations_is_computed():
    network, x = Remembers(), torch.randn(2, 3, 8, 8)
    expected = network.eval()(x)
    traced = trace_layers(network)
    torch.testing.assert_close(traced(x), expected, rtol=0, atol=0)
    nn.init.zeros_(traced.bias)
    torch.testing.assert_close(traced(x), traced.get_submodule("conv")(x), rtol=0, atol=0)
