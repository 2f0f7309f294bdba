"""The float network inside a fake-quantized one, and after training on."""

import pytest
import torch
from torch import nn

from potstill.quantization.prepare import prepare
from potstill.quantization.unprepare import float_form
from tests.support.small_nets import build, calibrated, make_images

PLAIN = {nn.Conv2d, nn.Linear, nn.BatchNorm2d}


@pytest.mark.parametrize("name", ["cifar_resnet", "efficientnet", "densenet", "test_resnet"])
@torch.no_grad()
def test_it_is_the_network_that_was_prepared(name):
    network, x = build(name), make_images(4, seed=2)
    found = float_form(calibrated(network))
    assert torch.equal(found(x), network(x))
    layers = [m for m in found.modules() if isinstance(m, tuple(PLAIN))]
    assert {type(m) for m in layers} <= PLAIN
    assert set(found.state_dict()) == set(float_form(prepare(found, keep_float=[])).state_dict())


def test_it_has_the_weights_that_were_trained():
    prepared = prepare(build("tiny_cnn"), keep_float=["conv1"])
    with torch.no_grad():
        prepared.conv1.weight += 1
        prepared.linear.weight += 1
    found = float_form(prepared)
    assert torch.equal(found.linear.weight, prepared.linear.weight)
    assert torch.equal(found.conv1.weight, prepared.conv1.weight)
