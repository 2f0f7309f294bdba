"""A pruned network computes what the dense one does with those channels zeroed."""

import copy

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from potstill.pruning.channels.criteria.l2_magnitude import L2Magnitude
from potstill.pruning.channels.criteria.random import Random
from potstill.pruning.channels.plan import apply_plan
from potstill.pruning.channels.prune import prune_channels
from potstill.pruning.channels.target import Target
from tests.support.pruned_nets import CONVNEXTS, FULL, IMAGE, SMALL, build, make_images


def gone(kept):
    return sorted(set(range(kept.of)) - set(kept.channels))


@torch.no_grad()
def silenced(net, plan):
    """Zero what makes the removed channels: they stay 0, since these activations map 0 to 0."""
    net = copy.deepcopy(net)
    for path, side, kept in plan.cuts():
        module = net.get_submodule(path)
        if side == "out" and hasattr(module, "weight"):
            module.weight[gone(kept)] = 0
            if module.bias is not None:
                module.bias[gone(kept)] = 0
            if isinstance(module, nn.BatchNorm2d):
                module.running_mean[gone(kept)] = 0
    return net


@pytest.mark.parametrize("name", [*FULL, *(f"small {name}" for name in SMALL)])
def test_pruned_equals_silenced(name):
    dense = build(SMALL[name.removeprefix("small ")] if name.startswith("small ") else FULL[name])
    pruned = copy.deepcopy(dense)
    done = prune_channels(pruned, IMAGE, Random(), Target(ratio=0.4), round_to=4)
    x = make_images()
    with torch.no_grad():
        found, wanted, whole = pruned(x), silenced(dense, done.plan)(x), dense(x)
    assert (found - wanted).abs().max() <= 1e-5 * wanted.abs().max().clamp(min=1)
    assert (found - whole).abs().max() > 1e-3 * whole.abs().max()
    again = apply_plan(copy.deepcopy(dense), done.plan)
    assert {k: v.tolist() for k, v in again.state_dict().items() if v.dim() == 1} == {
        k: v.tolist() for k, v in pruned.state_dict().items() if v.dim() == 1
    }


def normalised_without(net, plan):
    """Make every cut layer norm look at the remaining channels only, and emit 0 for the rest."""

    def hook(kept):
        index = list(kept.channels)

        def replace(norm, args, output):
            last = output.shape[-1] == kept.of
            x, y = (args[0], output) if last else (args[0].movedim(1, -1), output.movedim(1, -1))
            y = torch.zeros_like(y)
            weight, bias = norm.weight[index], norm.bias[index]
            y[..., index] = F.layer_norm(x[..., index], (len(index),), weight, bias, norm.eps)
            return y if last else y.movedim(-1, 1)

        return replace

    for path, _, kept in plan.cuts():
        if path in dict(net.named_modules()) and isinstance(net.get_submodule(path), nn.LayerNorm):
            net.get_submodule(path).register_forward_hook(hook(kept))
    return net


@pytest.mark.parametrize("name", CONVNEXTS)
def test_pruned_convnext_equals_silenced_but_for_its_norms(name):
    dense = build(CONVNEXTS[name])
    for key, parameter in dense.named_parameters():
        if key.endswith(("gamma", "layer_scale")):
            nn.init.normal_(parameter)
    pruned = copy.deepcopy(dense)
    done = prune_channels(pruned, IMAGE, L2Magnitude(), Target(ratio=0.4))
    assert any("dim0" in sides for sides in done.plan.layers.values())
    masked = silenced_modules(dense, done.plan)
    with torch.no_grad():
        found, wanted = pruned(make_images()), normalised_without(masked, done.plan)(make_images())
    assert (found - wanted).abs().max() <= 1e-5 * wanted.abs().max().clamp(min=1)


@torch.no_grad()
def silenced_modules(net, plan):
    net = copy.deepcopy(net)
    modules = dict(net.named_modules())
    for path, side, kept in plan.cuts():
        if side == "out" and isinstance(modules.get(path), nn.Conv2d | nn.Linear):
            modules[path].weight[gone(kept)] = 0
            modules[path].bias[gone(kept)] = 0
    return net
