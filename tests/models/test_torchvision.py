import pytest
import torch
from torchvision import models

from potstill.errors import ConfigError
from potstill.models.torchvision import model_names, torchvision_model


@pytest.mark.parametrize("name", ["resnet18", "mobilenet_v3_small", "squeezenet1_1"])
def test_the_imagenet_stem_is_torchvisions_own_to_the_bit(name):
    torch.manual_seed(0)
    ours = torchvision_model(name, 7, stem="imagenet").eval()
    torch.manual_seed(0)
    theirs = models.get_model(name, num_classes=7).eval()
    assert list(ours.state_dict()) == list(theirs.state_dict())
    x = torch.randn(1, 3, 64, 64)
    assert torch.equal(ours(x), theirs(x))


@pytest.mark.parametrize("name", ["resnet18", "vgg11_bn", "vit_b_16", "densenet121"])
def test_auto_is_the_imagenet_stem_for_large_images(name):
    with torch.device("meta"):
        ours, theirs = torchvision_model(name, 1000, image_size=224), models.get_model(name)
    assert [*map(str, ours.state_dict())] == [*map(str, theirs.state_dict())]
    assert sum(p.numel() for p in ours.parameters()) == sum(p.numel() for p in theirs.parameters())


@pytest.mark.parametrize(
    ("name", "expected"),  # kuangliu/pytorch-cifar, CIFAR-10
    [("resnet18", 11_173_962), ("resnet50", 23_520_842)],
)
def test_parameter_count_of_the_literature_with_the_cifar_stem(name, expected):
    with torch.device("meta"):
        model = torchvision_model(name, 10)
    assert sum(p.numel() for p in model.parameters()) == expected


@pytest.mark.parametrize("name", ["vit_tiny", "resnet18"])
def test_an_explicit_stem_wins_over_the_image_size(name):
    with torch.device("meta"):
        small, large = (torchvision_model(name, 10, stem, 64) for stem in ("cifar", "imagenet"))
    layer = "conv_proj.weight" if name == "vit_tiny" else "conv1.weight"
    sides = [model.state_dict()[layer].shape[-1] for model in (small, large)]
    assert sides == ([4, 16] if name == "vit_tiny" else [3, 7])


def test_an_unknown_name_raises_with_the_nearest():
    with pytest.raises(ConfigError, match=r"name=resnet19: .*resnet1"):
        torchvision_model("resnet19", 10)


def test_networks_with_auxiliary_outputs_are_not_offered():
    assert "googlenet" not in model_names()
    assert {"vgg8_bn", "vit_tiny", "resnet50", "convnext_tiny"} <= set(model_names())


def test_a_family_without_a_cifar_stem_raises():
    with torch.device("meta"), pytest.raises(ConfigError, match="stem=cifar: squeezenet1_1"):
        torchvision_model("squeezenet1_1", 10)


def test_a_network_for_cifar_has_no_imagenet_stem():
    with pytest.raises(ConfigError, match="stem=imagenet: vgg8_bn"):
        torchvision_model("vgg8_bn", 10, image_size=224)
