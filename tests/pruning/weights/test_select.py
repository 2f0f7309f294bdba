"""Exactly the weights asked for: against torch.nn.utils.prune and plain Python."""

import itertools

import pytest
import torch
from torch import nn
from torch.nn.utils import prune

from potstill.errors import ConfigError
from potstill.pruning.weights.criteria.lamp import LAMP
from potstill.pruning.weights.criteria.magnitude import Magnitude
from potstill.pruning.weights.criteria.random import Random
from potstill.pruning.weights.masks import add_masks, masked, remove_masks
from potstill.pruning.weights.select import choose_masks
from tests.support.masked_nets import update_masks, update_pattern


def layers(net):
    return (net.conv, "weight"), (net.fc, "weight")


@pytest.mark.parametrize("sparsity", [0.1, 0.5, 0.9])
@pytest.mark.parametrize("scope", ["layer", "global"])
def test_magnitude_as_torch_does_it(tiny, sparsity, scope):
    ours, theirs = tiny(8), tiny(8)
    add_masks(ours)
    update_masks(ours, sparsity, scope=scope)
    if scope == "global":
        prune.global_unstructured(layers(theirs), prune.L1Unstructured, amount=sparsity)
    else:
        for layer, name in layers(theirs):
            prune.l1_unstructured(layer, name, sparsity)
    for (mine, name), (other, _) in zip(layers(ours), layers(theirs), strict=True):
        assert torch.equal(mine.weight_mask, other.weight_mask.bool())
        assert torch.equal(getattr(mine, name), getattr(other, name))


@pytest.mark.parametrize("sparsity", [0.01, 0.15, 0.5, 0.83, 0.99])
def test_exact_and_first_come_where_all_scores_tie(sparsity):
    """As Python sorts: by score, then by position; half of these weights are equal."""
    net = nn.Sequential(nn.Linear(10, 11), nn.Linear(11, 10))
    generator = torch.Generator().manual_seed(0)
    for layer in net:
        layer.weight.data = torch.randint(-2, 3, layer.weight.shape, generator=generator).float()
    add_masks(net)
    flat = torch.cat([layer.weight.flatten() for layer in net]).tolist()
    order = sorted(range(220), key=lambda k: (abs(flat[k]), k))
    kept = [True] * 220
    for k in order[: round(sparsity * 220)]:
        kept[k] = False
    if not any(kept[:110]):
        with pytest.raises(ConfigError, match=r"scope=global: leaves nothing of 0\.weight"):
            choose_masks(net, sparsity, scope="global")
        return
    found = choose_masks(net, sparsity, scope="global")
    assert torch.cat([mask.flatten() for mask in found.values()]).tolist() == kept


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_every_layer_has_its_share(tiny, dtype):
    net = tiny(6).to(dtype)
    add_masks(net)
    assert update_masks(net, 0.75) == round(0.75 * 162) + round(0.75 * 30)
    assert int((remove_masks(net).conv.weight == 0).sum()) == round(0.75 * 162)
    assert int((net.fc.weight == 0).sum()) == round(0.75 * 30)


def test_lamp_across_layers_by_hand(tiny):
    """A layer a thousand times smaller loses as much as it would at any scale."""
    net, scaled = tiny(), tiny()
    scaled.conv.weight.data /= 1024
    scores = torch.cat([LAMP()("", layer.weight).flatten() for layer in (net.conv, net.fc)])
    order = sorted(range(128), key=lambda k: (scores[k].item(), k))
    kept = torch.ones(128, dtype=torch.bool)
    kept[order[:100]] = False
    for each in (net, scaled):
        add_masks(each)
        assert update_masks(each, 100 / 128, LAMP(), "global") == 100
        assert torch.equal(torch.cat([p.mask.flatten() for p in masked(each)]), kept)
    # By magnitude alone the small layer would go first, all of it.
    scaled = tiny()
    scaled.conv.weight.data /= 1024
    add_masks(scaled)
    with pytest.raises(ConfigError, match=r"leaves nothing of conv\.weight"):
        choose_masks(scaled, 109 / 128, scope="global")


@pytest.mark.parametrize("scope", ["layer", "global"])
@pytest.mark.parametrize("criterion", [Magnitude(), Random(1)])
def test_what_is_pruned_stays_pruned(tiny, scope, criterion):
    net = tiny()
    add_masks(net)
    before = None
    for sparsity in (0.2, 0.5, 0.8):
        update_masks(net, sparsity, criterion, scope)
        masks = torch.cat([place.mask.flatten() for place in masked(net)])
        assert before is None or not (masks & ~before).any()
        before = masks
        for place in masked(net):  # a weight at zero by chance is no reason to swap
            place.weight.data[place.mask] = 0
    with pytest.raises(ConfigError, match="pruned already"):
        update_masks(net, 0.5, criterion, scope)


def two_of_four(weight, n, m):
    """Every group of m along dim 1, one by one: the n largest stay, of equals the later ones."""
    mask = torch.zeros_like(weight, dtype=torch.bool)
    others = [range(size) for d, size in enumerate(weight.shape) if d != 1]
    for place in itertools.product(*others):
        for first in range(0, weight.shape[1], m):
            spots = [(place[0], first + k, *place[1:]) for k in range(m)]
            ranked = sorted(range(m), key=lambda k: (abs(weight[spots[k]].item()), k))
            for k in ranked[m - n :]:
                mask[spots[k]] = True
    return mask


@pytest.mark.parametrize(("n", "m"), [(2, 4), (1, 4), (1, 2), (3, 8)])
def test_pattern_group_by_group(n, m):
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(3, 8, 3), nn.Conv2d(8, 6, 3), nn.Flatten(), nn.Linear(16, 5))
    net[3].weight.data.round_(decimals=1)  # ties
    add_masks(net)
    dense = [net[k].weight.detach().clone() for k in (1, 3)]
    assert update_pattern(net, n, m) == (432 + 80) * (m - n) // m
    assert net[0].weight_mask.all()  # three colours are no multiple of m
    for k, weight in zip((1, 3), dense, strict=True):
        assert torch.equal(net[k].weight_mask, two_of_four(weight, n, m))
        assert torch.equal(net[k].weight, weight * net[k].weight_mask)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"sparsity": 0}, r"sparsity=0: must be between 0 and 1"),
        ({"sparsity": 1}, r"sparsity=1: must be between 0 and 1"),
        ({"sparsity": -0.5}, "between 0 and 1"),
        ({"sparsity": float("nan")}, "between 0 and 1"),
        ({"sparsity": 0.001}, r"sparsity=0\.001: prunes no weight"),
        ({"sparsity": 0.98}, r"sparsity=0\.98: leaves nothing of fc\.weight"),
        ({"sparsity": 0.5, "scope": "local"}, r"scope=local: must be layer or global"),
        ({"sparsity": 0.5, "criterion": LAMP()}, r"criterion=lamp, scope=layer"),
        ({"n": 4, "m": 4}, r"n=4, m=4: n of m weights must stay"),
        ({"n": 0, "m": 4}, r"n=0, m=4"),
        ({"n": 2, "m": 7}, r"m=7: the inputs of no layer"),
    ],
)
def test_what_cannot_be_is_one_line_and_changes_nothing(tiny, settings, message):
    net = tiny()
    add_masks(net)
    before = {name: value.clone() for name, value in net.state_dict().items()}
    with pytest.raises(ConfigError, match=message) as error:
        (update_pattern if "n" in settings else update_masks)(net, **settings)
    assert "\n" not in str(error.value)
    assert "Fix: " in str(error.value)
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())
