"""1-d convolutions in int8: the converted layer, its padding, and files."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from potstill.export.onnx import Onnx
from potstill.export.runtimes.onnxruntime import OnnxRuntime
from potstill.quantization.convert import convert
from potstill.quantization.converted_layers import ConvertedConv1d
from potstill.quantization.post_training import quantize_static
from tests.support.exported_nets import FACTS, make_images


class Rows(nn.Module):
    """1-d convolutions over the pixels of each map, row by row."""

    def __init__(self, **settings):
        super().__init__()
        self.first = nn.Conv2d(3, 8, 3, padding=1)
        self.rows = nn.Conv1d(8, 8, 3, padding=1, **settings)
        self.linear = nn.Linear(8, 5)

    def forward(self, x):
        return self.linear(F.relu(self.rows(self.first(x).flatten(2))).mean(2))


def network(**settings):
    torch.manual_seed(0)
    return Rows(**settings).eval()


@pytest.mark.parametrize(
    "settings", [{}, {"groups": 8, "bias": False}, {"padding_mode": "circular"}, {"stride": 2}]
)
@torch.no_grad()
def test_it_computes_with_its_integers(settings):
    int8 = convert(quantize_static(network(**settings), [make_images(16)]))
    layer, seen = int8.get_submodule("rows"), []
    assert isinstance(layer, ConvertedConv1d)
    layer.register_forward_hook(lambda _, args, output: seen.append((args[0], output)))
    int8(make_images(4))
    ((x, found),) = seen
    plain = network(**settings).rows
    weight = layer.weight.float() * layer.scale.view(-1, 1, 1)
    assert (weight - plain.weight).abs().max() <= layer.scale.max() / 2 + 1e-7
    padding = 0 if settings.get("padding_mode") else 1
    expected = F.conv1d(x, weight, layer.bias, plain.stride, padding, 1, plain.groups)
    torch.testing.assert_close(found, expected)


def test_onnx_runtime_computes_it_in_int8(tmp_path):
    pytest.importorskip("onnxscript")
    fake = quantize_static(network(), [make_images(16)])
    done = Onnx()(fake, tmp_path / "net", make_images(8), FACTS)
    executed = OnnxRuntime(done.path).executed()
    assert executed["QLinearConv"] == 2
    assert "Conv" not in executed
