"""A nudged network is the network, rounded a little differently."""

import torch
from exported_nets import integers, pictures, small

from potstill.export.sensitivity import nudged


def test_biases_move_by_half_an_accumulators_step():
    network = integers(small())
    moved = nudged(network)
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


def test_logits_move_a_little():
    network, images = integers(small()), pictures()
    with torch.no_grad():
        before, after = network(images), nudged(network)(images)
    assert 0 < (after - before).abs().max() < 0.2 * before.abs().max()
