"""Levels found by probing are the ones the papers name."""

import pytest
import torch
import torchvision
from torchvision.models.vision_transformer import VisionTransformer

from potstill.models.features.trace import find_levels, find_pooled, trace


def test_resnet_levels_are_its_layers():
    events = trace(torchvision.models.resnet18(), torch.zeros(1, 3, 96, 96))
    assert find_levels(events) == ["relu", "layer1", "layer2", "layer3", "layer4"]
    assert find_pooled(events) == "fc"


def test_mobilenet_ends_with_its_features():
    events = trace(torchvision.models.mobilenet_v2(), torch.zeros(1, 3, 64, 64))
    assert find_levels(events)[-1] == "features"
    assert len(find_levels(events)) == 5


def test_vit_levels_are_blocks_at_each_quarter():
    vit = VisionTransformer(
        image_size=16,
        patch_size=4,
        num_layers=8,
        num_heads=2,
        hidden_dim=8,
        mlp_dim=8,
        num_classes=3,
    )
    events = trace(vit, torch.zeros(1, 3, 16, 16))
    blocks = [f"encoder.layers.encoder_layer_{i}" for i in (1, 3, 5, 7)]
    assert find_levels(events) == blocks
    assert find_pooled(events) == "heads.head"


def test_a_network_without_classifier_has_no_pooled_feature():
    with pytest.raises(ValueError, match="linear classifier"):
        find_pooled(trace(torch.nn.Sequential(torch.nn.Flatten()), torch.zeros(1, 3, 4, 4)))
