"""Rewritten graphs give the same values, and hold nothing that XNNPACK cannot take."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from potstill.export.torch_export import capture
from potstill.export.xnnpack.rewrites import fit_for_xnnpack
from tests.support.exported_nets import integers, make_images, resnet8

ATEN = torch.ops.aten


class Taken(nn.Module):
    """What is to be rewritten, as a network."""

    def __init__(self, function):
        super().__init__()
        self.function = function

    def forward(self, x):
        return self.function(x)


def rewritten(network, images):
    with torch.no_grad():
        program = capture(network, images, "export=test")
    return fit_for_xnnpack(program.module(check_guards=False))


def targets(graph_module):
    return [node.target for node in graph_module.graph.nodes if node.op == "call_function"]


@pytest.mark.parametrize("quantized", [False, True])
def test_resnet_with_shortcuts_of_no_parameters(quantized):
    network, images = resnet8(), make_images(5)
    network = integers(network) if quantized else network
    graph_module = rewritten(network, images)
    assert torch.equal(graph_module(images), network(images))
    assert not {ATEN.slice.Tensor, ATEN.pad.default} & set(targets(graph_module))
    assert targets(graph_module).count(ATEN.conv2d.default) == 9 - 2 + 2  # 7 layers, 2 shortcuts
    weights = [
        b for name, b in graph_module.named_buffers() if name in ("shortcut_0", "shortcut_1")
    ]
    assert {w.dtype for w in weights} == {torch.int8 if quantized else torch.float32}


SHORTCUTS = {
    "pixels": lambda x: x[:, :, ::3, ::3],
    "channels too": lambda x: F.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, 1, 4)),
    "one side": lambda x: F.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, 0, 2)),
}
OTHERS = {
    "rows only": lambda x: x[:, :, ::2],
    "other steps": lambda x: x[:, :, ::2, ::4],
    "not from the first": lambda x: x[:, :, 1::2, 1::2],
    "padded with ones": lambda x: F.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, 1, 1), value=1.0),
    "padded around": lambda x: F.pad(x[:, :, ::2, ::2], (1, 1, 1, 1, 0, 0)),
}


@pytest.mark.parametrize("function", SHORTCUTS.values(), ids=SHORTCUTS)
def test_shortcut_becomes_a_convolution(function):
    images = make_images(3)
    graph_module = rewritten(Taken(function), images)
    assert torch.equal(graph_module(images), function(images))
    assert targets(graph_module) == [ATEN.conv2d.default]


@pytest.mark.parametrize("function", OTHERS.values(), ids=OTHERS)
def test_what_only_looks_like_one_keeps_its_values(function):
    images = make_images(3)
    assert torch.equal(rewritten(Taken(function), images)(images), function(images))


RESHAPES = {
    "flatten": lambda x: x.flatten(1),
    "view": lambda x: x.view(x.shape[0], 3, -1),
    "mean": lambda x: x.mean((2, 3)),
    "mean from the end": lambda x: x.mean((-1, -2)),
}


@pytest.mark.parametrize("function", RESHAPES.values(), ids=RESHAPES)
def test_batch_is_inferred(function):
    images = make_images(3)
    graph_module = rewritten(Taken(function), images)
    torch.testing.assert_close(graph_module(images), function(images))
    shaping = (ATEN.reshape.default, ATEN.view.default)
    views = [n for n in graph_module.graph.nodes if n.target in shaping]
    assert [v.args[1][0] for v in views] == [-1]
    assert ATEN.sym_size.int not in targets(graph_module)


@pytest.mark.parametrize("function", [lambda x: x.mean((1, 2)), lambda x: x.mean((2, 3), True)])
def test_other_means_stay(function):
    images = make_images(3)
    graph_module = rewritten(Taken(function), images)
    assert targets(graph_module) == [ATEN.mean.dim]
    assert torch.equal(graph_module(images), function(images))


@pytest.mark.parametrize("function", [F.hardswish, F.hardsigmoid])
def test_hard_sigmoids_are_spelt(function):
    images = 4 * make_images(3)
    graph_module = rewritten(Taken(function), images)
    torch.testing.assert_close(graph_module(images), function(images))
    assert set(targets(graph_module)) <= {ATEN.add.Tensor, ATEN.clamp.default, ATEN.mul.Tensor}
