"""Two independent ways to int8, on a network that has learnt something."""

import pytest
import torch

from potstill.quantization.convert import convert
from potstill.quantization.post_training import quantize_static
from tests.support.digits_net import accuracy, make_images, sqnr, trained, training_batches

pytest.importorskip("torchao")
pytest.importorskip("executorch")

from tests.support.pt2e import quantize_pt2e


@pytest.fixture(scope="module")
def converted():
    return quantize_pt2e(trained(), training_batches(), n_batches=4)


@torch.no_grad()
def test_pt2e_and_ours_are_equally_good(converted):
    network, images = trained(), make_images(test=True)[0]
    prepared = quantize_static(network, training_batches(), n_batches=4)
    exact, ours, theirs = network(images), convert(prepared)(images), converted(images)
    assert min(sqnr(exact, ours), sqnr(exact, theirs)) > 25
    assert abs(sqnr(exact, ours) - sqnr(exact, theirs)) < 2
    for logits in (ours, theirs):
        assert abs(accuracy(logits) - accuracy(exact)) <= 1
    assert abs(accuracy(ours) - accuracy(theirs)) <= 1


def test_no_batch_norm_is_left_but_integers(converted):
    called = {str(node.target) for node in converted.graph.nodes}
    assert not [name for name in called if "norm" in name]
    assert "quantized_decomposed.dequantize_per_channel.default" in called
    assert any(value.dtype == torch.int8 for value in converted.state_dict().values())


def test_network_is_left_alone_and_one_image_is_enough(tiny):
    network, image = tiny(), torch.randn(1, 3, 16, 16)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    assert quantize_pt2e(network, [image])(image).shape == (1, 5)
    assert network.training
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
