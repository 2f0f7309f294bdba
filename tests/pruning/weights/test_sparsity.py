"""What zeros buy, counted by hand and unpacked by the standard library."""

import gzip

import pytest
import torch
from safetensors.torch import load
from torch import nn

from potstill.pruning.weights.masks import add_masks, remove_masks
from potstill.pruning.weights.sparsity import compressed_bytes, masked_share
from tests.support.masked_nets import update_masks


def test_share_by_hand(tiny):
    net = tiny()  # 108 weights in the convolution, 20 in the classifier
    add_masks(net, ["conv"])
    update_masks(net, 0.25)
    assert masked_share(net) == 27 / 108
    add_masks(net)
    assert masked_share(net) == 27 / 128


def test_the_file_unpacks_to_the_deployed_network(tiny, monkeypatch):
    net, kept = tiny(), []
    add_masks(net)
    update_masks(net, 0.5)
    original = gzip.compress
    monkeypatch.setattr(gzip, "compress", lambda *a, **k: kept.append(original(*a, **k)) or kept[0])
    size = compressed_bytes(net)
    assert size == len(kept[0])
    found, expected = load(gzip.decompress(kept[0])), remove_masks(net).state_dict()
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[name], value) for name, value in expected.items())


def test_only_the_compressed_size_falls():
    net = nn.Linear(100, 100, bias=False)
    torch.manual_seed(0)
    nn.init.normal_(net.weight)
    add_masks(net)
    sizes = [compressed_bytes(net)]
    for sparsity in (0.5, 0.9):
        update_masks(net, sparsity)
        sizes.append(compressed_bytes(net))
    # 90 % zeros: at best a tenth of the values, and where they are (0.47 bits for each of them).
    assert sizes[0] > 36_000
    assert sizes[1] < 0.7 * sizes[0]
    assert 0.1 * sizes[0] < sizes[2] < 0.2 * sizes[0]


def test_a_shared_weight_counts_once():
    net = nn.Sequential(nn.Linear(64, 64, bias=False), nn.Linear(64, 64, bias=False))
    alone = compressed_bytes(nn.Sequential(net[0]))
    net[1].weight = net[0].weight
    assert compressed_bytes(net) == pytest.approx(alone, rel=0.01)
