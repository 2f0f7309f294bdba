"""Where a network is rounded, written out by hand for every kind of step."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from potstill.quantization.graph.grid_plan import plan_grids
from potstill.quantization.graph.op_kinds import Kind, kinds
from potstill.quantization.graph.trace import trace_layers
from potstill.quantization.layers import FreezableBatchNorm2d, QuantConv2d, QuantLinear


class Net(nn.Module):
    """Layers to build forward passes of: each test gives its own `forward`."""

    def __init__(self):
        super().__init__()
        self.c1, self.c2, self.c3 = (QuantConv2d(4, 4, 1) for _ in range(3))
        self.bn = FreezableBatchNorm2d(4)
        self.relu, self.act, self.gate = nn.ReLU(), nn.Hardswish(), nn.Hardsigmoid()
        self.pool, self.maxpool = nn.AdaptiveAvgPool2d(1), nn.MaxPool2d(2)
        self.drop, self.ln, self.fc = nn.Dropout(0.1), nn.LayerNorm(4), QuantLinear(4, 2)


def plan(forward):
    graph_module = trace_layers(type("Net", (Net,), {"forward": forward})())
    return plan_grids(graph_module), graph_module


def conv_bn_relu(self, x):
    return self.relu(self.bn(self.c1(x)))


def norm_alone(self, x):
    return self.c1(self.relu(self.bn(x)))


def conv_used_twice(self, x):
    y = self.c1(x)
    return self.bn(y) + y


def residual(self, x):
    y = self.relu(self.c1(x))
    return self.relu(self.c2(y) + y)


def squeeze_excite(self, x):
    y = self.act(self.c1(x))
    return y * self.gate(self.c2(self.pool(y)))


def concatenation(self, x):
    return self.c3(torch.cat([self.c1(x), self.relu(self.c2(x))], 1))


def moved(self, x):
    return self.fc(self.drop(torch.flatten(self.maxpool(self.c1(x)), 1)))


def split(self, x):
    left, right = self.c1(x).chunk(2, 1)
    return torch.cat([right, left], 1)


def sizes(self, x):
    y = self.c1(x)
    n, c = y.shape[0], y.size(1)
    return self.fc(y.view(n, c * y.shape[2]).mean(1, keepdim=True) * 0.5)


def float_stream(self, x):
    y = self.ln(self.c1(x))
    return y + F.gelu(self.fc(y))


# forward: the rounded values in order, the shared ones, those kept on their grid.
PLANS = {
    conv_bn_relu: (["x", "relu"], [], []),
    norm_alone: (["x", "relu", "c1"], [], []),
    conv_used_twice: (["x", "c1", "bn", "add"], [], []),
    residual: (["x", "relu", "c2", "relu_1"], [], []),
    squeeze_excite: (["x", "c1", "act", "pool", "c2", "gate", "mul"], [], []),
    concatenation: (["x", "c1", "relu", "c3"], [("c1", "relu")], ["cat"]),
    moved: (["x", "c1", "fc"], [], ["maxpool", "flatten"]),
    split: (["x", "c1"], [], ["getitem", "getitem_1", "cat"]),
    # mul by a number is float arithmetic, its result is rounded for the linear layer.
    sizes: (["x", "c1", "mean", "mul_1", "fc"], [], ["view"]),
    float_stream: (["x", "c1", "ln", "fc", "gelu", "add"], [], []),
}


@pytest.mark.parametrize("forward", PLANS, ids=lambda forward: forward.__name__)
def test_rounded_where_said(forward):
    grids, _ = plan(forward)
    rounded, shared, kept = PLANS[forward]
    assert [node.name for node in grids.rounded] == rounded
    groups = [tuple(node.name for node in group) for group in grids.members().values()]
    assert [group for group in groups if len(group) > 1] == shared
    assert [node.name for node in grids.kept] == kept


def test_a_residual_stream_in_float_stays_float():
    def forward(self, x):
        y = self.ln(x)
        return x + self.fc(y)

    assert [node.name for node in plan(forward)[0].rounded] == ["ln", "fc"]


def test_a_moved_value_is_on_the_grid_it_came_from():
    grids, graph_module = plan(moved)
    nodes = {node.name: node for node in graph_module.graph.nodes}
    assert {grids.find(nodes[name]) for name in ("c1", "maxpool", "flatten", "drop")} == {
        nodes["c1"]
    }


def test_padding_with_zero_moves_and_with_anything_else_does_not():
    def forward(self, x):
        return F.pad(x, (1, 1)) + F.pad(x, (1, 1), value=1.0) + F.pad(x, (1, 1), "constant", 2.0)

    found = kinds(plan(forward)[1])
    named = {node.name: kind for node, kind in found.items()}
    assert [named[name] for name in ("pad", "pad_1", "pad_2")] == [
        Kind.MOVE, Kind.FLOAT, Kind.FLOAT
    ]  # fmt: skip
