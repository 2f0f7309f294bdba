"""Costs against sums done by hand and a file on disk."""

import copy
import zlib

import numpy as np
import pytest
import torch
from safetensors.torch import save_model
from torch import nn
from torchvision.models import VisionTransformer

from potstill.measure.counts import (
    MacCount,
    count_macs,
    count_nonzeros,
    count_parameters,
    gzip_bytes,
    is_quantized,
    measure_network,
    shape_of,
    size_bytes,
    size_mb,
    stored,
)
from potstill.quantization.convert import convert
from potstill.quantization.post_training import quantize_static

IMAGE = (3, 8, 8)


def small_net():
    return nn.Sequential(
        nn.Conv2d(3, 4, 3, stride=2, padding=1),  # 8x8 -> 4x4
        nn.BatchNorm2d(4),
        nn.ReLU(),
        nn.Conv2d(4, 6, 3, groups=2, bias=False),  # 4x4 -> 2x2
        nn.Flatten(),
        nn.Linear(24, 5),
    )


def test_macs_are_the_products_done_by_hand():
    first = 4 * (4 * 4) * (3 * 3 * 3)  # channels * positions * window
    second = 6 * (2 * 2) * (2 * 3 * 3)  # each group sees two of the four channels
    assert count_macs(small_net(), IMAGE) == first + second + 24 * 5


def test_macs_of_attention_count_every_product_of_a_transformer():
    # Its fused kernels, in eval mode and without gradients, are unknown to torch's counter.
    layer = nn.TransformerEncoderLayer(16, nhead=2, dim_feedforward=32, batch_first=True)
    tokens, width, hidden = 7, 16, 32
    projections = tokens * width * 3 * width + tokens * width * width
    attention = 2 * tokens * tokens * width  # scores, then their sum over the values
    feedforward = 2 * tokens * width * hidden
    assert count_macs(layer, (tokens, width)) == projections + attention + feedforward
    assert torch.backends.mha.get_fastpath_enabled()


def test_macs_of_a_vision_transformer_by_hand():
    net = VisionTransformer(32, 8, 2, 2, hidden_dim=16, mlp_dim=32, num_classes=5)
    tokens, width, hidden = 17, 16, 32  # 4 x 4 patches and the class token
    patches = 16 * width * 3 * 8 * 8
    products = 4 * tokens * width * width + 2 * tokens * tokens * width
    layers = 2 * (products + 2 * tokens * width * hidden)
    assert count_macs(net, (3, 32, 32)) == patches + layers + width * 5
    assert MacCount(net, (3, 32, 32))(net) == patches + layers + width * 5


def test_macs_of_what_the_counter_does_not_know_are_none_not_zero():
    assert count_macs(nn.Sequential(nn.ReLU(), nn.MaxPool2d(2)), IMAGE) is None


def test_parameters_by_hand_with_frozen_and_shared_ones():
    net = small_net()
    net[0].requires_grad_(False)
    net.again = net[5]
    assert count_parameters(net) == (4 * 27 + 4) + 2 * 4 + 6 * 18 + (24 * 5 + 5)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
def test_size_is_that_of_the_file_on_disk(tmp_path, dtype):
    net = small_net().to(dtype)
    save_model(net, str(tmp_path / "net.safetensors"))
    assert size_bytes(net) == (tmp_path / "net.safetensors").stat().st_size


def test_size_counts_pruned_views_and_shared_tensors_as_what_they_hold():
    kept, tied = small_net(), small_net()
    kept[5].weight.data = torch.randn(50, 240)[:5, :24]  # a view of a hundred times more
    tied.register_parameter("same", tied[5].weight)
    assert size_bytes(kept) == size_bytes(small_net())
    # The header holds another name of the same tensor.
    assert abs(size_bytes(tied) - size_bytes(small_net())) <= 16


def test_counts_need_no_values():
    net = small_net()
    net.again = net[5]
    shapes = shape_of(net)
    assert size_bytes(shapes) == size_bytes(net)
    assert size_mb(shapes) == size_bytes(net) / 1e6
    assert count_parameters(shapes) == count_parameters(net)
    assert MacCount(small_net(), IMAGE)(shapes) == count_macs(small_net(), IMAGE)


def test_what_is_left_out_is_not_stored():
    net = small_net()
    assert stored(net, without=[net[0].weight]).keys() == net.state_dict().keys() - {"0.weight"}


def test_size_does_not_depend_on_the_memory_format():
    net = small_net().to(memory_format=torch.channels_last)
    assert size_bytes(net) == size_bytes(small_net())
    assert net[0].weight.is_contiguous(memory_format=torch.channels_last)


def test_size_of_a_state_that_safetensors_cannot_hold_is_none():
    class Extra(nn.Linear):
        def get_extra_state(self):
            return {"scale": 0.5}

    sparse = nn.Linear(2, 2)
    sparse.register_buffer("mask", torch.eye(2).to_sparse())
    assert size_bytes(Extra(2, 2)) is None
    assert size_bytes(sparse) is None


def test_of_integers_weights_and_biases_count_and_scales_do_not():
    float_net = small_net()
    integers = convert(quantize_static(float_net, [torch.rand(4, *IMAGE)]))
    # Batch-norm's scales and shifts of 4 channels are folded into the convolution before it.
    assert count_parameters(integers) == sum(p.numel() for p in float_net.parameters()) - 8
    assert is_quantized(integers)
    assert not is_quantized(float_net)


def test_of_masks_nothing_counts():
    net = small_net()
    net[0].register_buffer("weight_mask", torch.ones(4, 3, 3, 3, dtype=torch.bool))
    assert count_parameters(net) == count_parameters(small_net())
    assert not is_quantized(net)


def test_a_single_layer_in_integers_has_its_bias():
    layer = nn.Module()
    layer.register_buffer("weight", torch.tensor([[1, 0, -3]], dtype=torch.int8))
    layer.register_buffer("bias", torch.tensor([0.5]))
    layer.register_buffer("scale", torch.tensor([0.1]))
    assert count_parameters(layer) == 4
    assert count_nonzeros(layer) == 3


def test_nonzeros_by_hand():
    net = small_net()
    for parameter in net.parameters():
        nn.init.ones_(parameter)
    with torch.no_grad():
        net[0].weight[:, 1] = 0
        net[5].bias[2] = 0
    assert count_nonzeros(net) == count_parameters(net) - 4 * 9 - 1


def test_gzip_is_that_of_the_system_and_sees_zeros(tmp_path):
    file = tmp_path / "weights"
    values = np.random.default_rng(0).normal(size=4000).astype(np.float32)
    sizes = []
    for kept in (4000, 400):
        values[kept:] = 0
        file.write_bytes(values.tobytes())
        sizes.append(gzip_bytes(file.read_bytes()))
        assert sizes[-1] == pytest.approx(len(zlib.compress(values.tobytes(), 9)), abs=16)
    assert sizes[1] < sizes[0] / 8


def test_a_frozen_batch_norm_stays_frozen_and_nothing_else_changes():
    net = small_net().train()
    net[1].eval()
    before, modes = copy.deepcopy(net.state_dict()), [module.training for module in net.modules()]
    measure_network(net, IMAGE)
    assert [module.training for module in net.modules()] == modes
    torch.testing.assert_close(net.state_dict(), before, rtol=0, atol=0)
    assert all(parameter.grad is None for parameter in net.parameters())


def test_modes_come_back_after_a_network_that_fails():
    net = small_net().train()
    with pytest.raises(RuntimeError):
        count_macs(net, (4, 8, 8))
    assert all(module.training for module in net.modules())


def test_measure_gives_the_columns_of_a_row():
    net = small_net()
    found = measure_network(net, IMAGE)
    assert found.pop("latency_p95_ms") >= found.pop("latency_ms") > 0
    assert found == {"num_parameters": 353, "macs": 2280, "size_bytes": size_bytes(net)}
