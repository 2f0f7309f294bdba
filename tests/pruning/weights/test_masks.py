"""Masks under optimizers, copies and files; trained beside torch's own reparametrisation."""

import copy
from functools import partial

import pytest
import torch
from torch import nn
from torch.nn.utils import prune

from potstill.errors import ConfigError
from potstill.pruning.weights.masks import (
    add_masks,
    apply_masks,
    mask_gradients,
    masked,
    prunable,
    remove_masks,
    set_masks,
)
from tests.support.masked_nets import update_masks

OPTIMIZERS = {
    "sgd": partial(torch.optim.SGD, lr=0.1, momentum=0.9, weight_decay=0.1, nesterov=True),
    "adam": partial(torch.optim.Adam, lr=0.05, weight_decay=0.1),
    "adamw": partial(torch.optim.AdamW, lr=0.05, weight_decay=0.1),
}


def step(net, optimizer, batch, masks=True):
    image, target, _ = batch
    optimizer.zero_grad()
    nn.functional.cross_entropy(net(image), target).backward()
    if masks:
        mask_gradients(net)
    optimizer.step()
    if masks:
        apply_masks(net)


def reparametrised(net, sparsity):
    for layer in (net.conv, net.fc):
        prune.l1_unstructured(layer, "weight", sparsity)
    return net


@pytest.mark.parametrize("make", OPTIMIZERS.values(), ids=OPTIMIZERS)
def test_training_is_that_of_the_reparametrised_network(tiny, batches, make):
    ours, theirs = tiny(), reparametrised(tiny(), 0.7)
    add_masks(ours)
    update_masks(ours, 0.7)
    optimizers = make(ours.parameters()), make(theirs.parameters())
    for batch in batches * 3:
        step(ours, optimizers[0], batch)
        step(theirs, optimizers[1], batch, masks=False)
    for layer in ("conv", "fc"):
        mine, other = getattr(ours, layer).weight, getattr(theirs, layer)
        other = other.weight_orig * other.weight_mask  # `weight` is that of the last forward pass
        torch.testing.assert_close(mine, other, rtol=1e-5, atol=1e-7)
    torch.testing.assert_close(ours.bn.running_var, theirs.bn.running_var)


@pytest.mark.parametrize("make", OPTIMIZERS.values(), ids=OPTIMIZERS)
@pytest.mark.parametrize("held", [True, False])
def test_pruned_weights_stay_at_plus_zero_whatever_the_momentum(tiny, batches, make, held):
    net = tiny()
    add_masks(net)
    optimizer = make(net.parameters())
    for batch in batches:  # momentum and moments of weights that will be pruned
        step(net, optimizer, batch)
    update_masks(net, 0.6)
    for batch in batches:
        step(net, optimizer, batch, masks=held)
    for layer, count in ((net.conv, 65), (net.fc, 12)):
        pruned = layer.weight[~layer.weight_mask]
        assert len(pruned) == count
        assert (layer.weight[layer.weight_mask] != 0).all()
        if held:
            assert (pruned == 0).all()
            assert not torch.signbit(pruned).any()  # minus zeros would compress worse
        else:  # so that the lines above can fail
            assert (pruned != 0).any()


def test_keys_are_the_dense_ones_and_the_masks_from_the_start(tiny):
    net, dense = tiny(), list(tiny().state_dict())
    parameters = [name for name, _ in net.named_parameters()]
    assert add_masks(net) == ["conv.weight", "fc.weight"]
    with_masks = list(net.state_dict())
    assert set(with_masks) - set(dense) == {"conv.weight_mask", "fc.weight_mask"}
    assert all(place.mask.all() and place.mask.dtype == torch.bool for place in masked(net))
    update_masks(net, 0.5)
    assert list(net.state_dict()) == with_masks
    assert [name for name, _ in net.named_parameters()] == parameters
    weights = {place.path: place.weight.detach().clone() for place in masked(net)}
    assert list(remove_masks(net).state_dict()) == dense
    assert all(torch.equal(net.get_parameter(path), value) for path, value in weights.items())


def test_masks_are_copied_loaded_and_kept(tiny):
    net, other = tiny(), tiny(seed=1)
    for each in (net, other):
        add_masks(each)
    update_masks(net, 0.5)
    eval_copy = copy.deepcopy(net)
    other.load_state_dict(net.state_dict())
    add_masks(other)  # as at a resume: a mask that is there stays
    for copied in (eval_copy, other):
        copied.conv.weight.data.fill_(1)
        apply_masks(copied)
        assert torch.equal(copied.conv.weight != 0, net.conv.weight_mask)
    eval_copy.conv.weight_mask.fill_(False)
    assert net.conv.weight_mask.any()


def test_masks_set_say_how_many_fell(tiny):
    net = tiny()
    add_masks(net, ["fc"])
    mask = torch.ones(5, 4, dtype=torch.bool)
    mask[0, :3] = False
    assert set_masks(net, {"fc.weight": mask}) == 3
    mask[1, 1] = False
    assert set_masks(net, {"fc.weight": mask}) == 1
    assert int((net.fc.weight == 0).sum()) == 4


def test_removing_masks_applies_them(tiny):
    net = tiny()
    add_masks(net)
    update_masks(net, 0.5)
    net.fc.weight.data.fill_(1)
    assert int((remove_masks(net).fc.weight == 0).sum()) == 10


def test_layers_and_untouchable_cover_what_is_under_them():
    net = nn.ModuleDict(
        {
            "a": nn.Sequential(nn.Conv2d(1, 1, 1), nn.BatchNorm2d(1)),
            "ab": nn.Linear(2, 2),
            "attention": nn.MultiheadAttention(4, 2),
        }
    )
    everything = ["a.0.weight", "ab.weight", "attention.in_proj_weight"]
    everything += ["attention.out_proj.weight"]
    assert [place.path for place in prunable(net)] == everything
    assert add_masks(copy.deepcopy(net)) == everything
    assert add_masks(copy.deepcopy(net), ["a"]) == everything[:1]
    assert add_masks(copy.deepcopy(net), ["a", "attention"], ["attention.out_proj"]) == [
        "a.0.weight",
        "attention.in_proj_weight",
    ]
    assert add_masks(copy.deepcopy(net), untouchable=["ab", "attention"]) == everything[:1]


def test_a_shared_weight_has_one_mask():
    net = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
    net[1].weight = net[0].weight
    assert add_masks(net) == ["0.weight"]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"layers": ["cnov"]}, r"layers=cnov: no such layer\. Fix: nearest are conv"),
        ({"untouchable": ["fd"]}, r"untouchable=fd: no such layer\. Fix: nearest are fc"),
        ({"untouchable": ["bn"]}, r"untouchable=bn: holds no weights to prune"),
        ({"untouchable": ["conv", "fc"]}, r"no weight is left to prune"),
    ],
)
def test_wrong_names(tiny, settings, message):
    with pytest.raises(ConfigError, match=message):
        add_masks(tiny(), **settings)
