"""Bias correction: the mean of every layer's output is float's."""

import pytest
import torch
from torch import nn

from potstill.models.features.hooks import hooked
from potstill.quantization.bias_correction import correct_biases, set_biases
from potstill.quantization.convert import convert
from potstill.quantization.observers import set_faking
from potstill.quantization.post_training import calibrate, quantize_static
from potstill.quantization.prepare import prepare
from tests.support.small_nets import build, make_images

ENDS = {
    "tiny_cnn": ("bn1", "bn2", "bn3", "linear"),
    "mobilenet_v2": ("features.1.conv.0.1", "features.1.conv.3", "classifier.1"),
    "squeezenet": ("features.0", "features.3.expand3x3", "classifier.1"),
    "vit": ("conv_proj", "encoder.layers.encoder_layer_0.mlp.0", "heads.head"),
}


def means(network, paths, images):
    """Return the mean of each channel of each layer's output, by plain arithmetic."""
    found = {}

    def note(path):
        def hook(module, args, output):
            dims = (0, 2, 3) if output.dim() == 4 else tuple(range(output.dim() - 1))
            found[path] = output.double().mean(dims)

        return hook

    hooks = (network.get_submodule(p).register_forward_hook(note(p)) for p in paths)
    with hooked(hooks), torch.no_grad():
        network(images)
    return found


@pytest.mark.parametrize("name", ENDS)
def test_the_mean_of_each_layer_is_that_of_float(name):
    network, images = build(name), make_images(16)
    expected = means(network, ENDS[name], images)
    plain = quantize_static(network, [images])
    corrected = quantize_static(network, [images], bias_correction=True)
    before, after = (means(net, ENDS[name], images) for net in (plain, corrected))
    for path in ENDS[name]:
        size = expected[path].abs().max()
        assert (before[path] - expected[path]).abs().max() > 1e-4 * size, path
        assert (after[path] - expected[path]).abs().max() < 1e-5 * size, path


def test_a_layer_without_a_bias_gets_one_and_a_norm_without_one_shifts_its_mean():
    layers = [nn.Conv2d(3, 4, 3, bias=False), nn.BatchNorm2d(4, affine=False), nn.ReLU()]
    network = nn.Sequential(*layers, nn.Flatten(), nn.Linear(4 * 14 * 14, 3, bias=False)).eval()
    images = make_images(8)
    expected = means(network, ("1", "4"), images)
    prepared = prepare(network).eval()
    calibrate(prepared, [images])
    biases = correct_biases(prepared, [images[:5], images[5:]])
    assert set(biases) == {"1.running_mean", "4.bias"}
    for path, value in means(prepared, ("1", "4"), images).items():
        assert torch.allclose(value, expected[path], atol=1e-5)
    again = prepare(network).eval()
    calibrate(again, [images])
    set_biases(again, biases)
    assert torch.equal(convert(again)(images), convert(prepared)(images))
    set_faking(again, False)
    assert not torch.equal(again(images), network(images))
