import copy
import json

import pytest
import torch
import torch_pruning as tp
from torch import nn

from potstill.errors import DataError
from potstill.pruning.channels.criteria.random import Random
from potstill.pruning.channels.plan import ChannelPlan, Kept, apply_plan
from potstill.pruning.channels.prune import prune_channels
from potstill.pruning.channels.target import Target
from tests.support.pruned_nets import IMAGE, SMALL, build, make_images


def net():
    return nn.Sequential(
        nn.Conv2d(3, 6, 3), nn.BatchNorm2d(6), nn.ReLU(), nn.Conv2d(6, 6, 3, groups=6),
        nn.Conv2d(6, 8, 1), nn.GroupNorm(4, 8), nn.Conv2d(8, 4, 1, groups=2),
    )  # fmt: skip


PLAN = ChannelPlan(
    {
        "0": {"out": Kept(6, (0, 2, 5))},
        "1": {"out": Kept(6, (0, 2, 5))},
        "3": {"out": Kept(6, (0, 2, 5))},
        "4": {"in": Kept(6, (0, 2, 5)), "out": Kept(8, (0, 2, 4, 6))},
        "5": {"out": Kept(8, (0, 2, 4, 6))},
        "6": {"in": Kept(8, (0, 2, 4, 6))},
    }
)


def test_slices_are_those_of_plain_indexing():
    dense, cut = build(net), build(net)
    apply_plan(cut, PLAN)
    k, half = [0, 2, 5], [0, 2, 4, 6]
    assert torch.equal(cut[0].weight, dense[0].weight[k])
    assert torch.equal(cut[0].bias, dense[0].bias[k])
    for name in ("weight", "bias", "running_mean", "running_var"):
        assert torch.equal(getattr(cut[1], name), getattr(dense[1], name)[k])
    assert torch.equal(cut[3].weight, dense[3].weight[k])
    assert (cut[3].in_channels, cut[3].out_channels, cut[3].groups) == (3, 3, 3)
    assert torch.equal(cut[4].weight, dense[4].weight[half][:, k])
    assert torch.equal(cut[5].weight, dense[5].weight[half])
    assert torch.equal(cut[6].weight, dense[6].weight[:, [0, 2]])
    assert (cut[6].in_channels, cut[6].out_channels) == (4, 4)
    assert (cut[1].num_features, cut[5].num_channels) == (3, 4)
    assert cut(make_images()).shape == dense(make_images()).shape


def test_json_is_plain_and_comes_back_as_it_was():
    text = json.dumps(PLAN.to_json())
    again = ChannelPlan.from_json(json.loads(text))
    assert {(p, s, k) for p, s, k in again.cuts()} == {(p, s, k) for p, s, k in PLAN.cuts()}
    assert len(PLAN.to_json()["channels"]) == 2  # equal lists are kept once


@pytest.mark.parametrize(
    "broken",
    [
        {},
        {"format": 2, "channels": [], "layers": {}},
        {"format": 1, "channels": [[0, 4]], "layers": {"0": {"out": [4, 0]}}},
        {"format": 1, "channels": [[1, 0]], "layers": {"0": {"out": [4, 0]}}},
        {"format": 1, "channels": [[]], "layers": {"0": {"out": [4, 0]}}},
        {"format": 1, "channels": [["0"]], "layers": {"0": {"out": [4, 0]}}},
        {"format": 1, "channels": [], "layers": {"0": {"out": [4, 0]}}},
        {"format": 1, "channels": [[0]], "layers": {"0": 3}},
    ],
)
def test_damaged_json_is_one_data_error(broken):
    with pytest.raises(DataError, match="plan: damaged"):
        ChannelPlan.from_json(broken)


def test_another_network_is_refused_before_anything_changes():
    model = build(net)
    before = copy.deepcopy(model.state_dict())
    wrong = ChannelPlan({**PLAN.layers, "6": {"in": Kept(16, (0, 2))}})
    with pytest.raises(DataError, match="6 has 8 channels"):
        apply_plan(model, wrong)
    with pytest.raises(DataError, match=r"no layer 9\.conv"):
        apply_plan(model, ChannelPlan({**PLAN.layers, "9.conv": {"in": Kept(16, (0, 2))}}))
    assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())


def test_then_counts_in_what_the_first_left():
    first = ChannelPlan({"0": {"out": Kept(6, (1, 2, 4, 5))}, "1": {"out": Kept(6, (1, 2, 4, 5))}})
    second = ChannelPlan({"0": {"out": Kept(4, (0, 3))}, "4": {"in": Kept(6, (0,))}})
    joined = first.then(second)
    assert joined.layers["0"]["out"] == Kept(6, (1, 5))
    assert joined.layers["1"]["out"] == Kept(6, (1, 2, 4, 5))
    assert joined.layers["4"]["in"] == Kept(6, (0,))
    with pytest.raises(DataError, match="in the order"):
        second.then(first)


def test_modes_freezing_dtype_and_inplace_stay():
    model = build(net).train().to(torch.bfloat16)
    model[1].eval()
    model[2].inplace = True
    model[0].weight.requires_grad_(False)
    apply_plan(model, PLAN)
    assert [module.training for module in model] == [True, False, *[True] * 5]
    assert model[2].inplace
    assert not model[0].weight.requires_grad
    assert model[4].weight.requires_grad
    assert {p.dtype for p in model.parameters()} == {torch.bfloat16}


@pytest.mark.parametrize("name", SMALL)
def test_fresh_network_takes_the_pruned_weights(name):
    pruned = build(SMALL[name])
    done = prune_channels(pruned, IMAGE, Random(), Target(ratio=0.4), round_to=4)
    plan = ChannelPlan.from_json(json.loads(json.dumps(done.plan.to_json())))
    fresh = apply_plan(build(SMALL[name], seed=1), plan)
    fresh.load_state_dict(pruned.state_dict(), strict=True)
    with torch.no_grad():
        assert torch.equal(fresh(make_images()), pruned(make_images()))


@pytest.mark.parametrize("name", ["resnet_bottleneck", "mobilenet_v3", "densenet", "vgg"])
def test_slices_are_those_of_torch_pruning(name):
    """Each cut, replayed through torch-pruning's own slicing, gives the same weights."""
    dense = build(SMALL[name])
    ours = copy.deepcopy(dense)
    plan = prune_channels(ours, IMAGE, Random(), Target(ratio=0.4), round_to=4).plan
    graph = tp.DependencyGraph().build_dependency(dense, make_images(1), verbose=False)
    for module, path in [(m, p) for p, m in dense.named_modules() if p in plan.layers]:
        kept = plan.layers[path].get("out")
        if not isinstance(module, nn.Conv2d | nn.Linear) or kept is None:
            continue
        now = module.weight.shape[0]
        if now != len(kept.channels) and now == kept.of:  # else cut with a layer before it
            away = sorted(set(range(kept.of)) - set(kept.channels))
            prune = graph.get_pruner_of_module(module).prune_out_channels
            graph.get_pruning_group(module, prune, away).prune()
    for key, value in dense.state_dict().items():
        assert torch.equal(value, ours.state_dict()[key]), key
