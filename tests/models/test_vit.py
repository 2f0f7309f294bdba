import pytest
import timm
import torch
from torchvision import models

from potstill.errors import ConfigError
from potstill.models.vit import vision_transformer


def shapes(model):
    return {key: tuple(value.shape) for key, value in model.state_dict().items()}


@pytest.mark.parametrize("name", ["vit_b_16", "vit_b_32", "vit_l_16", "vit_h_14"])
def test_the_imagenet_stem_is_torchvisions_own(name):
    with torch.device("meta"):
        ours, theirs = vision_transformer(name, 1000, "imagenet", 224), models.get_model(name)
    assert shapes(ours) == shapes(theirs)


def test_tiny_has_deits_size():
    with torch.device("meta"):
        ours = vision_transformer("vit_tiny", 1000, "imagenet", 224)
        theirs = timm.create_model("vit_tiny_patch16_224")
    heads = [layer.self_attention.num_heads for layer in ours.encoder.layers]
    assert heads == [block.attn.num_heads for block in theirs.blocks]
    assert sum(p.numel() for p in ours.parameters()) == sum(p.numel() for p in theirs.parameters())


@pytest.mark.parametrize(
    ("stem", "image_size", "tokens"), [("cifar", 32, 64), ("imagenet", 96, 36)]
)
def test_number_of_patches(stem, image_size, tokens):
    with torch.device("meta"):
        model = vision_transformer("vit_tiny", 10, stem, image_size)
        assert model.encoder.pos_embedding.shape == (1, tokens + 1, 192)
        assert model(torch.empty(2, 3, image_size, image_size)).shape == (2, 10)


def test_a_image_of_no_whole_number_of_patches_raises():
    with pytest.raises(ConfigError, match=r"image_size=100: .* Fix: image_size=96"):
        vision_transformer("vit_b_16", 10, "imagenet", 100)
