"""Cross-layer equalisation: the same outputs, equal ranges, the paper's formula by hand."""

import copy
import warnings

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from potstill.errors import ConfigError
from potstill.quantization.convert import convert
from potstill.quantization.equalization import equalize
from potstill.quantization.post_training import quantize_static
from potstill.quantization.rebuild import static_shape
from tests.support.small_nets import build, make_images

PAIRED = ("tiny_cnn", "cifar_resnet", "mobilenet_v2", "mobilenet_v3", "vgg_bn")


def uneven(network):
    """Make channels of unlike ranges, so that there is something to do; all but outputs' size."""
    torch.manual_seed(1)
    with torch.no_grad():
        for module in network.modules():
            if isinstance(module, nn.Conv2d | nn.Linear):
                spread = torch.logspace(-1, 1, len(module.weight))[
                    torch.randperm(len(module.weight))
                ]
                module.weight.mul_(spread.view(-1, *[1] * (module.weight.dim() - 1)))
    return network.eval()


@pytest.mark.parametrize("name", PAIRED)
@torch.no_grad()
def test_the_outputs_stay(name):
    network, x = uneven(build(name)), make_images(8, seed=3)
    expected, found = network(x), equalize(network)(x)
    assert not torch.equal(expected, found)  # something was done
    assert (expected - found).abs().max() <= 1e-5 * expected.abs().max()


@torch.no_grad()
def test_a_pair_by_hand():
    first, second = nn.Conv2d(1, 2, 1), nn.Conv2d(2, 1, 1)
    first.weight.copy_(torch.tensor([4.0, 1.0]).view(2, 1, 1, 1))
    second.weight.copy_(torch.tensor([1.0, 9.0]).view(1, 2, 1, 1))
    first.bias.copy_(torch.tensor([2.0, -3.0]))
    found = equalize(nn.Sequential(first, nn.ReLU(), second))
    # s = sqrt(r1 / r2) = 2 and 1/3; both ranges are sqrt(r1 r2) = 2 and 3.
    assert found.get_submodule("0").weight.flatten().tolist() == [2.0, 3.0]
    assert found.get_submodule("2").weight.flatten().tolist() == [2.0, 3.0]
    assert found.get_submodule("0").bias.tolist() == pytest.approx([1.0, -9.0])


@torch.no_grad()
def test_a_pair_as_torch_does_it():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # deprecated: an oracle, and nothing to depend on
        from torch.ao.quantization._equalize import cross_layer_equalization
    torch.manual_seed(0)
    first, second = nn.Conv2d(3, 6, 3), nn.Conv2d(6, 4, 3)
    for layer in (first, second):  # theirs is the range max - min; ours is of int8, max |w|
        layer.weight.copy_(torch.where(torch.rand_like(layer.weight) < 0.5, -1, 1) * layer.weight)
        layer.weight[:, :, 0, 0] = -layer.weight[:, :, 1, 1].abs() * 9
        layer.weight[:, :, 2, 2] = layer.weight[:, :, 1, 1].abs() * 9
    found = equalize(nn.Sequential(first, nn.ReLU(), second))
    cross_layer_equalization(first, second)
    for path, layer in (("0", first), ("2", second)):
        assert torch.allclose(found.get_submodule(path).weight, layer.weight, rtol=1e-4)
    assert torch.allclose(found.get_submodule("0").bias, first.bias, rtol=1e-4)


@torch.no_grad()
def test_through_a_depthwise_convolution_all_three_have_one_range():
    torch.manual_seed(0)
    layers = (
        nn.Conv2d(3, 4, 1),
        nn.ReLU(),
        nn.Conv2d(4, 4, 3, groups=4),
        nn.ReLU(),
        nn.Conv2d(4, 2, 1),
    )
    network = uneven(nn.Sequential(*layers))
    ranges = [w.weight.abs() for w in (network[0], network[2], network[4])]
    by_hand = (
        ranges[0].amax((1, 2, 3)) * ranges[1].amax((1, 2, 3)) * ranges[2].amax((0, 2, 3))
    ) ** (1 / 3)
    found = [equalize(network).get_submodule(path).weight.abs() for path in ("0", "2", "4")]
    for weight, dims in zip(found, ((1, 2, 3), (1, 2, 3), (0, 2, 3)), strict=True):
        assert torch.allclose(weight.amax(dims), by_hand, rtol=1e-3)


class Forms(nn.Module):
    """A convolution, a step, a reader."""

    def __init__(self, step, reader):
        super().__init__()
        self.conv, self.reader, self.step = nn.Conv2d(3, 4, 3, padding=1), reader, step

    def forward(self, x):
        return self.reader(self.step(self.conv(x)))


FORMS = {
    "relu6": (F.relu6, nn.Conv2d(4, 2, 3)),
    "flatten": (lambda x: F.max_pool2d(x, 2).flatten(1), nn.Linear(4 * 8 * 8, 3)),
    "pooled": (lambda x: F.relu(x).mean((2, 3)), nn.Linear(4, 3)),
    "grouped": (F.leaky_relu, nn.Conv2d(4, 6, 3, groups=2)),
    "module": (nn.Sequential(nn.PReLU(4), nn.AdaptiveAvgPool2d(2), nn.Flatten()), nn.Linear(16, 3)),
}


@pytest.mark.parametrize("name", FORMS)
@torch.no_grad()
def test_forms_of_a_pair(name):
    torch.manual_seed(0)
    network, x = uneven(copy.deepcopy(Forms(*FORMS[name]))), 20 * make_images(4)
    expected, found = network(x), equalize(network)
    assert not torch.equal(found.conv.weight, network.conv.weight)
    assert torch.allclose(found(x), expected, rtol=1e-5, atol=1e-5 * expected.abs().max().item())


NOT_PAIRED = {
    "silu": (F.silu, nn.Conv2d(4, 2, 3)),
    "tokens": (lambda x: x.flatten(2), nn.Linear(256, 3)),
    "columns": (F.relu, nn.Linear(16, 3)),  # reads the last dimension, not the channels
    "shifted": (lambda x: x + 1, nn.Conv2d(4, 2, 3)),
    "two readers": (lambda x: torch.cat([x, F.relu(x)], 1), nn.Conv2d(8, 2, 3)),
}


@pytest.mark.parametrize("name", NOT_PAIRED)
def test_nothing_to_equalise_is_one_line(name):
    with pytest.raises(
        ConfigError, match=r"equalize=true: no layer .*Fix: equalize=false"
    ) as caught:
        equalize(Forms(*NOT_PAIRED[name]))
    assert "\n" not in str(caught.value)


def test_a_dead_channel_stays_and_so_do_tied_weights():
    network = nn.Sequential(
        nn.Conv2d(3, 4, 1), nn.ReLU(), nn.Conv2d(4, 4, 1), nn.ReLU(), nn.Conv2d(4, 4, 1)
    )
    with torch.no_grad():
        network[0].weight[1] = 0
        assert torch.isfinite(equalize(network)(make_images(2))).all()
    network[4].weight = network[2].weight
    with torch.no_grad(), pytest.raises(ConfigError, match="equalize=true"):
        equalize(network)


@torch.no_grad()
def test_int8_of_it_is_built_again_and_has_its_clamps():
    network, x = uneven(build("mobilenet_v2")), make_images(8)
    int8 = convert(quantize_static(network, [x], equalize=True, bias_correction=True))
    ceilings = [name for name in int8.state_dict() if name.endswith("ceiling")]
    assert len(ceilings) == 5  # around two depthwise convolutions, and before the classifier
    fresh = static_shape(build("mobilenet_v2"), equalize=True, bias_correction=True)
    fresh.load_state_dict(int8.state_dict())
    assert torch.equal(fresh(x), int8(x))


@torch.no_grad()
def test_a_shared_weight_is_scaled_for_none():
    torch.manual_seed(0)
    free, first, second = nn.Conv2d(3, 8, 1), nn.Conv2d(8, 8, 1), nn.Conv2d(8, 8, 1)
    second.weight = first.weight
    layers = [free, nn.ReLU(), nn.Conv2d(8, 8, 1), nn.ReLU(), first, nn.ReLU(), second]
    network, x = uneven(nn.Sequential(*layers)), make_images(4)
    found = equalize(network)
    assert torch.equal(found.get_submodule("4").weight, first.weight)
    assert not torch.equal(found.get_submodule("0").weight, free.weight)
    assert torch.allclose(found(x), network(x), rtol=1e-4, atol=1e-4 * network(x).abs().max())
