import importlib.util

import numpy as np
import pytest
import torch

from potstill.errors import ConfigError
from potstill.models.cifar_resnet import OptionA, cifar_resnet
from tests.support.places import SHARED

PUBLISHED = {depth: SHARED / "weights" / f"cifar10_resnet{depth}.safetensors" for depth in (20, 56)}
MEAN, STD = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])


def count(model):
    return sum(p.numel() for p in model.parameters())


@pytest.mark.parametrize(
    ("depth", "expected"),  # akamaster/pytorch_resnet_cifar10; in millions in He's table 6
    [(20, 269_722), (32, 464_154), (44, 658_586), (56, 853_018), (110, 1_727_962)],
)
def test_parameter_count_of_the_literature(depth, expected):
    with torch.device("meta"):
        assert count(cifar_resnet(depth, 10)) == expected


def test_option_a_against_numpy():
    x = np.random.default_rng(0).normal(size=(2, 4, 6, 6)).astype(np.float32)
    expected = np.zeros((2, 8, 3, 3), np.float32)
    expected[:, 2:6] = x[:, :, ::2, ::2]
    np.testing.assert_array_equal(OptionA(4, 8, 2)(torch.from_numpy(x)).numpy(), expected)


@pytest.mark.parametrize("depth", [2, 9, 18, 51])
def test_a_depth_that_is_not_6n_plus_2_raises(depth):
    with pytest.raises(ConfigError, match=f"depth={depth}: "):
        cifar_resnet(depth, 10)


def test_the_imagenet_stem_raises():
    with pytest.raises(ConfigError, match="stem=imagenet"):
        cifar_resnet(20, 10, stem="imagenet")


def test_every_relu_is_hooked_before_and_after():
    torch.manual_seed(0)
    model = cifar_resnet(8, 10).train()
    seen = {}
    for i in (1, 2, 3):
        block = model.get_submodule(f"layer{i}.0")
        block.relu2.register_forward_hook(
            lambda m, args, out, i=i: seen.update({i: (args[0], out)})
        )
    model(torch.randn(2, 3, 32, 32))
    for before, after in seen.values():
        assert (before < 0).any()
        assert torch.equal(before.clamp(min=0), after)
    assert [after.shape[1:] for _, after in seen.values()] == [
        (16, 32, 32),
        (32, 16, 16),
        (64, 8, 8),
    ]


@pytest.mark.parametrize("depth", [20, 56])
def test_published_weights_fit_strictly(depth):
    if not PUBLISHED[depth].is_file():
        pytest.skip(f"no published weights at {PUBLISHED[depth]}")
    cifar_resnet(depth, 10, weights=str(PUBLISHED[depth]))


def test_published_weights_score_as_published():
    script = SHARED / "data" / "unpack.py"
    if not (script.is_file() and PUBLISHED[20].is_file()):
        pytest.skip(f"no CIFAR-10 and weights under {SHARED}")
    spec = importlib.util.spec_from_file_location("unpack", script)
    unpack = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(unpack)
    images, labels = unpack.read_split("test")
    photos = (torch.from_numpy(images[:1000].copy()) / 255 - MEAN) / STD
    model = cifar_resnet(20, 10, weights=str(PUBLISHED[20])).eval()
    with torch.inference_mode():
        batches = photos.permute(0, 3, 1, 2).split(250)
        predicted = torch.cat([model(batch).argmax(1) for batch in batches])
    correct = (predicted.numpy() == labels[:1000]).sum()
    deviation = (1000 * 0.9173 * 0.0827) ** 0.5
    assert correct == pytest.approx(917.3, abs=3 * deviation)
