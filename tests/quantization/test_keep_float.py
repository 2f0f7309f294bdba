"""Layers that stay in float32: what they compute, what is around them, and what is refused."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from potstill.errors import ConfigError
from potstill.export.executorch import Pte
from potstill.export.onnx import Onnx
from potstill.measure.counts import count_parameters
from potstill.quantization.convert import convert
from potstill.quantization.converted_layers import ConvertedConv2d
from potstill.quantization.post_training import quantize_static
from potstill.quantization.prepare import prepare
from tests.support.exported_nets import FACTS, make_images, small
from tests.support.small_nets import build


def inputs_of(network, path, images):
    found = []
    layer = network.get_submodule(path)
    hook = layer.register_forward_hook(lambda _, args, output: found.append((args[0], output)))
    with torch.no_grad():
        network(images)
    hook.remove()
    return found[0]


def kept(network, *names):
    return convert(quantize_static(network, [make_images()], keep_float=names))


def test_a_kept_convolution_computes_with_its_own_weights():
    network = small()
    int8 = kept(network, "conv2")
    x, y = inputs_of(int8, "conv2", make_images(4))
    conv, norm = network.conv2, network.bn2
    # By hand: (conv(x) - mean) / sqrt(var + eps) * weight + bias.
    summed = F.conv2d(x, conv.weight, None, conv.stride, conv.padding)
    mean, std = norm.running_mean, (norm.running_var + norm.eps).sqrt()
    mean, std, weight, bias = (v.view(1, -1, 1, 1) for v in (mean, std, norm.weight, norm.bias))
    assert torch.allclose(y, (summed - mean) / std * weight + bias, atol=1e-5)
    others = [m for m in int8.modules() if isinstance(m, nn.Conv2d | nn.Linear)]
    assert others == [int8.conv2]


def test_a_kept_linear_layer_computes_with_its_own_weights():
    network = small()
    int8 = kept(network, "linear")
    x, y = inputs_of(int8, "linear", make_images(4))
    assert torch.equal(y, F.linear(x, network.linear.weight, network.linear.bias))


def test_a_name_covers_what_is_under_it_and_its_batch_norms():
    prepared = prepare(build("cifar_resnet"), keep_float=["layer1", "layer2.0.conv1"])
    plain = [p for p, m in prepared.named_modules() if type(m) is nn.Conv2d]
    assert plain == ["layer1.0.conv1", "layer1.0.conv2", "layer2.0.conv1"]
    int8 = kept(build("cifar_resnet"), "layer1", "layer2.0.conv1")
    assert not [m for m in int8.modules() if isinstance(m, nn.BatchNorm2d)]
    assert sum(isinstance(m, ConvertedConv2d) for m in int8.modules()) == 7 - 3


def test_a_batch_norm_alone_stays_too():
    network = nn.Sequential(nn.BatchNorm2d(3), nn.ReLU(), nn.Conv2d(3, 4, 3), nn.Flatten()).eval()
    network[0].running_mean.fill_(0.3)
    int8 = kept(network, "0")
    x, y = inputs_of(int8, "0", make_images(2))
    assert torch.equal(x, make_images(2))  # nothing rounds it
    assert torch.allclose(y, (x - 0.3) / (1 + 1e-5) ** 0.5, atol=1e-6)
    assert set(int8.get_submodule("0").state_dict()) == set(nn.BatchNorm2d(3).state_dict())


def test_all_but_nothing_kept_is_the_float_network_where_only_ends_are_rounded():
    network, images = small(), make_images(8)
    everything_else = [p for p, m in network.named_modules() if isinstance(m, nn.Conv2d)]
    int8 = kept(network, *everything_else)
    x, _ = inputs_of(int8, "linear", images)
    pooled = inputs_of(network, "linear", images)[0]
    step = (pooled.max() - pooled.min()).item() / 255
    assert (x - pooled).abs().max() < 2 * step  # one rounding and no more


def test_its_size_is_by_hand():
    network = small()
    assert count_parameters(kept(network, "linear")) == count_parameters(kept(network))
    weights = {
        k: v for k, v in kept(network, "linear").state_dict().items() if k.startswith("linear.")
    }
    assert {k: v.dtype for k, v in weights.items()} == dict.fromkeys(
        ("linear.weight", "linear.bias"), torch.float32
    )


def test_it_trains():
    prepared = prepare(small(), keep_float=["conv1"]).train()
    prepared(make_images()).square().sum().backward()
    assert all(parameter.grad is not None for parameter in prepared.parameters())


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["conv9"], r"keep_float=\[conv9\]: no such layer. Fix: keep_float=\[...\] of conv\d"),
        (["relu1"], r"keep_float=\[relu1\]: holds no layer that int8 changes. Fix: "),
        (
            ["conv1", "conv2", "conv3", "linear"],
            r"keep_float=\[conv1, conv2, conv3, linear\]: nothing is left to quantize. Fix: ",
        ),
    ],
)
def test_what_cannot_be_is_one_line(names, message):
    with pytest.raises(ConfigError, match=message) as caught:
        prepare(small(), keep_float=names)
    assert "\n" not in str(caught.value)


def test_an_onnx_file_holds_both_kinds(tmp_path):
    onnx = pytest.importorskip("onnx", reason="onnx is not installed")
    pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")
    done = Onnx()(kept(small(), "conv2"), tmp_path / "net", make_images(), FACTS)
    tensors = onnx.load(done.path).graph.initializer
    weights = [t.data_type for t in tensors if len(t.dims) == 4]
    assert (len(weights), weights.count(onnx.TensorProto.FLOAT)) == (3, 1)
    assert done.agreement == 1


def test_executorch_runs_both_kinds(tmp_path):
    pytest.importorskip("executorch.exir", reason="executorch is not installed")
    done = Pte()(kept(small(), "conv2"), tmp_path / "net", make_images(), FACTS)
    assert done.agreement == 1
