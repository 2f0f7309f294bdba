"""Static quantization: ranges against plain hooks, accuracy on digits, and what is refused."""

import copy

import pytest
import torch
from torch import nn

from potstill.errors import ConfigError
from potstill.models.tiny_cnn import tiny_cnn
from potstill.quantization.convert import convert
from potstill.quantization.observers import activation_quantizers
from potstill.quantization.post_training import quantize_static
from potstill.quantization.range_methods import find_range_method
from tests.support.digits_net import (
    accuracy,
    assert_steps_apart,
    make_images,
    sqnr,
    trained,
    training_batches,
)


def images(count=3, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(4, 3, 16, 16, generator=generator) for _ in range(count)]


@torch.no_grad()
def heard(network, batches):
    """Return (least, greatest) of the image, every ReLU, the mean and the logits, in order."""
    seen = {}

    def note(name, x):
        seen.setdefault(name, []).append(x)

    for name, module in network.named_children():
        if isinstance(module, nn.ReLU | nn.AdaptiveAvgPool2d | nn.Linear):
            module.register_forward_hook(lambda m, args, out, name=name: note(name, out))
    for batch in batches:
        note("input", batch)
        network(batch)
    order = ["input", *(name for name in seen if name != "input")]
    return [(torch.cat(seen[n]).min().item(), torch.cat(seen[n]).max().item()) for n in order]


def found(prepared):
    quantizers = activation_quantizers(prepared)
    return [(q.lo.min().item(), q.hi.max().item()) for q in quantizers]


def test_min_max_is_what_the_float_network_said():
    torch.manual_seed(0)
    network = tiny_cnn(10).eval()
    prepared = quantize_static(network, images(5), n_batches=3)
    expected = heard(network, images(3))
    got = found(prepared)
    assert len(got) == len(expected)
    for ours, theirs in zip(got, expected, strict=True):
        assert ours == pytest.approx(theirs, rel=1e-5, abs=1e-6)
    quantizers = activation_quantizers(prepared)
    assert not any(q.observing for q in quantizers)
    assert all(q.faking and q.seen.all() for q in quantizers)


@pytest.mark.parametrize("name", ["min_max", "percentile", "mse"])
def test_same_images_same_bits_and_nothing_else_moves(name):
    torch.manual_seed(0)
    network = tiny_cnn(10)
    before = copy.deepcopy(network.state_dict())
    method = find_range_method(name)
    one, other = (quantize_static(network, images(), method) for _ in range(2))
    assert network.training
    assert not any(module.training for module in one.modules())
    assert all(torch.equal(value, before[key]) for key, value in network.state_dict().items())
    theirs = other.state_dict()
    assert all(torch.equal(value, theirs[key]) for key, value in one.state_dict().items())
    running = [key for key in theirs if "running" in key]
    assert running
    assert all(torch.equal(theirs[key], before[key]) for key in running)


@pytest.mark.parametrize("name", ["min_max", "percentile", "mse"])
def test_digits_keep_their_accuracy(name):
    network, (test, _) = trained(), make_images(test=True)
    prepared = quantize_static(network, training_batches(), find_range_method(name))
    with torch.no_grad():
        exact, fake, deployed = network(test), prepared(test), convert(prepared)(test)
    assert abs(accuracy(exact) - accuracy(fake)) <= 1
    assert sqnr(exact, fake) > 25
    assert_steps_apart(prepared, fake, deployed)


def test_one_broken_pixel_spoils_min_max_only():
    network, (test, _) = trained(), make_images(test=True)
    batches = [batch.clone() for batch, _ in training_batches()[:4]]
    batches[2][0, 0, 0, 0] = 100.0
    quality = {}
    with torch.no_grad():
        for name in ("min_max", "percentile", "mse"):
            prepared = quantize_static(network, batches, find_range_method(name, 99.9))
            quality[name] = sqnr(network(test), prepared(test))
    assert quality["percentile"] > quality["min_max"] + 10
    assert quality["mse"] > quality["min_max"] + 3


@pytest.mark.parametrize("batches", [[], iter(())])
def test_nothing_to_calibrate_with(batches):
    with pytest.raises(ConfigError, match="nothing to calibrate with"):
        quantize_static(tiny_cnn(10), batches)
