"""A perturbed network is the network, rounded a little differently."""

import pytest
import torch

from potstill.export.sensitivity import perturb_rounding
from potstill.quantization.dynamic import quantize_dynamic
from tests.support.exported_nets import integers, make_images, small


def test_biases_move_by_half_an_accumulators_step():
    network = integers(small())
    moved = perturb_rounding(network)
    scale = network.get_submodule("quantizers.after_input_1").scale
    step = scale * network.conv1.scale
    ratio = (moved.conv1.bias - network.conv1.bias) / step
    torch.testing.assert_close(ratio.abs(), torch.full_like(ratio, 0.5), atol=0.02, rtol=0)
    assert ratio[0] > 0 > ratio[1]
    for name, value in network.state_dict().items():
        same = torch.equal(value, moved.state_dict()[name])
        assert same != (
            name in {f"{layer}.bias" for layer in ("conv1", "conv2", "conv3", "linear")}
        )


@pytest.mark.parametrize("convert", [integers, lambda network: quantize_dynamic(network)[0]])
def test_logits_move_a_little(convert):
    network, images = convert(small()), make_images()
    with torch.no_grad():
        before, after = network(images), perturb_rounding(network)(images)
    assert 0 < (after - before).abs().max() < 0.2 * before.abs().max()


def test_activations_of_linear_layers_are_not_rounded():
    network = quantize_dynamic(small())[0]
    layer, x = network.linear, torch.randn(4, network.linear.weight.shape[1])
    expected = x @ (layer.weight * layer.scale[:, None]).T + layer.bias
    torch.testing.assert_close(perturb_rounding(network).linear(x), expected)
    assert (layer(x) - expected).abs().max() > 1e-4
