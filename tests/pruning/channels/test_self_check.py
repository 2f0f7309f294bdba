"""The self-check: norms over what is left, and plans that are wrong."""

import copy

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from potstill.errors import ConfigError
from potstill.pruning.channels import groups
from potstill.pruning.channels.coupling import trace
from potstill.pruning.channels.coupling.labels import Labels
from potstill.pruning.channels.fault import find_fault
from potstill.pruning.channels.groups import eval_copy
from potstill.pruning.channels.plan import ChannelPlan, Kept
from tests.support.odd_nets import TINY, Moved, Sequence, images, kept, prune, seeded

timm_layers = pytest.importorskip("timm.layers")
grn = pytest.importorskip("timm.layers.grn")


def residual(channels=16):
    """Return a network whose shortcut couples two convolutions."""

    class Residual(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = nn.Conv2d(channels, channels, 3, padding=1)
            self.norm = nn.BatchNorm2d(channels)

        def forward(self, x):
            return F.relu(x + self.norm(self.inner(x)))

    return Sequence(Residual(), channels)


def wrong_index_map(monkeypatch):
    """Let a flip leave channels where they are."""
    monkeypatch.setitem(trace.RULES, "flip", trace.RULES["clone"])
    return lambda: Moved(lambda x: x.flip(1))


def missed_reader(monkeypatch):
    """Lose the inputs of linear layers from every group."""
    found = groups._group

    def without(*args):
        key, group = found(*args)
        members = tuple(m for m in group.members if not isinstance(m.part, nn.Linear))
        return key, groups.ChannelGroup(group.name, group.width, members, group.blocks)

    monkeypatch.setattr(groups, "_group", without)
    return residual


def wrong_coupling(monkeypatch):
    """Do not tie what a sum adds up."""
    tie = Labels.join

    def join(labels, axes):
        vectors = [axis for axis in axes if isinstance(axis, torch.Tensor)]
        return vectors[0] if len(vectors) == 2 == len(axes) else tie(labels, axes)

    monkeypatch.setattr(Labels, "join", join)
    return residual


@pytest.mark.parametrize("broken", [wrong_index_map, missed_reader, wrong_coupling])
def test_a_walk_that_is_broken_is_refused(broken, monkeypatch):
    make = broken(monkeypatch)
    net = seeded(make)
    before = copy.deepcopy(net.state_dict())
    with pytest.raises(
        ConfigError, match=r"cannot be pruned: .*untouchable=\[\w[\w.]*\]"
    ) as raised:
        prune(net, untouchable=["second"] if isinstance(net, Moved) else ())
    assert "\n" not in str(raised.value)
    assert all(torch.equal(value, before[key]) for key, value in net.state_dict().items())


def test_the_same_networks_are_pruned_by_the_walk_as_it_is():
    for make in (lambda: Moved(lambda x: x.flip(1)), residual):
        assert prune(seeded(make)).reached["ratio"] == 0.5


class HandMadeNorm(nn.Module):
    """A layer norm over channels as many write it."""

    def forward(self, x):
        mean, var = x.mean(1, keepdim=True), x.var(1, keepdim=True, unbiased=False)
        return (x - mean) / torch.sqrt(var + 1e-5)


class ChannelsFirst(nn.Module):
    def __init__(self, norm):
        super().__init__()
        self.norm = norm

    def forward(self, x):
        return self.norm(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


class Normalized(nn.Module):
    def forward(self, x):
        return F.normalize(x, dim=1)


NORMS = {  # each with what it computes over the channels `c` that are left
    "LayerNorm": (
        lambda: ChannelsFirst(nn.LayerNorm(16)),
        lambda norm, y, c: F.layer_norm(
            y.movedim(1, -1), (len(c),), norm.norm.weight[c], norm.norm.bias[c]
        ).movedim(-1, 1),
    ),
    "LayerNorm without scale": (
        lambda: ChannelsFirst(nn.LayerNorm(16, elementwise_affine=False)),
        lambda norm, y, c: F.layer_norm(y.movedim(1, -1), (len(c),)).movedim(-1, 1),
    ),
    "GroupNorm": (
        lambda: nn.GroupNorm(1, 16),
        lambda norm, y, c: F.group_norm(y, 1, norm.weight[c], norm.bias[c]),
    ),
    "GroupNorm in groups": (
        lambda: nn.GroupNorm(4, 16),
        lambda norm, y, c: F.group_norm(y, 4, norm.weight[c], norm.bias[c]),
    ),
    "RMSNorm": (
        lambda: ChannelsFirst(nn.RMSNorm(16, eps=1e-6)),
        lambda norm, y, c: F.rms_norm(
            y.movedim(1, -1), (len(c),), norm.norm.weight[c], 1e-6
        ).movedim(-1, 1),
    ),
    "timm's RMSNorm": (
        lambda: ChannelsFirst(timm_layers.RmsNorm(16)),
        lambda norm, y, c: F.rms_norm(
            y.movedim(1, -1), (len(c),), norm.norm.weight[c], 1e-6
        ).movedim(-1, 1),
    ),
    "InstanceNorm": (
        lambda: nn.InstanceNorm2d(16, affine=True),
        lambda norm, y, c: F.instance_norm(y, weight=norm.weight[c], bias=norm.bias[c]),
    ),
    "global response norm": (
        lambda: grn.GlobalResponseNorm(16, channels_last=False),
        lambda norm, y, c: _response(y, norm.weight[c], norm.bias[c]),
    ),
    "by hand": (HandMadeNorm, lambda norm, y, c: F.layer_norm(
        y.movedim(1, -1), (len(c),)).movedim(-1, 1)),
    "F.normalize": (Normalized, lambda norm, y, c: y / y.norm(dim=1, keepdim=True)),
}  # fmt: skip


def _response(y, weight, bias):
    size = y.square().sum((2, 3), keepdim=True).sqrt()
    share = size / (size.mean(1, keepdim=True) + 1e-6)
    return y + bias[:, None, None] + weight[:, None, None] * y * share


@pytest.mark.parametrize("name", NORMS)
def test_a_norm_over_channels_is_one_over_those_left(name):
    make, oracle = NORMS[name]
    dense = seeded(lambda: Sequence(make()))
    pruned = copy.deepcopy(dense)
    done = prune(pruned)
    there = kept(done.plan, "stem", 16)
    assert len(there) == 8
    with torch.no_grad():
        maps = oracle(dense.block, dense.stem(images())[:, there], there)
        wanted = F.linear(maps.mean((2, 3)), dense.head.weight[:, there], dense.head.bias)
        found = pruned(images())
    assert (found - wanted).abs().max() <= 1e-5 * wanted.abs().max()


def test_a_cosine_classifier_is_one_over_the_features_left():
    class Cosine(Sequence):
        def forward(self, x):
            features = self.block(self.stem(x)).relu().mean((2, 3))
            return F.linear(F.normalize(features), F.normalize(self.head.weight)) * 10

    dense = seeded(lambda: Cosine(nn.BatchNorm2d(16)))
    pruned = copy.deepcopy(dense)
    there = kept(prune(pruned).plan, "stem", 16)
    with torch.no_grad():
        features = dense.block(dense.stem(images())).relu().mean((2, 3))[:, there]
        wanted = 10 * torch.cosine_similarity(features[:, None], dense.head.weight[:, there], 2)
        assert (pruned(images()) - wanted).abs().max() <= 1e-5 * wanted.abs().max()
    assert len(there) == 8


@pytest.mark.parametrize("kind", ["StdConv2d", "ScaledStdConv2d"])
def test_weights_are_standardised_over_the_inputs_left(kind):
    layer = getattr(timm_layers, kind)
    dense = seeded(lambda: Sequence(nn.Sequential(nn.ReLU(), layer(16, 16, 3, padding=1))))
    pruned = copy.deepcopy(dense)
    done = prune(pruned)
    left, made = kept(done.plan, "stem", 16), kept(done.plan, "block.1", 16)
    conv = dense.block[1]
    with torch.no_grad():
        weight = conv.weight[made][:, left]
        weight = (weight - weight.mean((1, 2, 3), keepdim=True)) / torch.sqrt(
            weight.var((1, 2, 3), keepdim=True, unbiased=False) + conv.eps
        )
        if kind == "ScaledStdConv2d":
            weight = weight * conv.gain[made] * conv.scale
        bias = conv.bias[made] if conv.bias is not None else None
        maps = F.conv2d(dense.stem(images())[:, left].relu(), weight, bias, padding=1)
        wanted = F.linear(maps.mean((2, 3)), dense.head.weight[:, made], dense.head.bias)
        found = pruned(images())
    assert len(left) == len(made) == 8
    # timm's scale is of the inputs there were; it is a number that stays.
    assert (found - wanted).abs().max() <= 1e-4 * wanted.abs().max()


class Heads(nn.Module):
    """Attention over places with heads of four channels, as many as there are."""

    def __init__(self):
        super().__init__()
        self.query, self.key, self.value = (nn.Linear(16, 16) for _ in range(3))
        self.proj = nn.Linear(16, 16)

    def forward(self, x):
        tokens = x.flatten(2).transpose(1, 2)
        q, k, v = (
            layer(tokens).unflatten(2, (-1, 4)).transpose(1, 2)
            for layer in (self.query, self.key, self.value)
        )
        mixed = F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)
        return self.proj(mixed).transpose(1, 2).unflatten(2, x.shape[2:])


def heads_plan(gone, read):
    keep = lambda heads: tuple(4 * h + c for h in range(4) if h not in heads for c in range(4))  # noqa: E731
    layers = {f"block.{name}": {"out": Kept(16, keep(gone))} for name in ("query", "key", "value")}
    return ChannelPlan(layers | {"block.proj": {"in": Kept(16, keep(read))}})


def test_heads_of_attention_are_compared():
    net = eval_copy(seeded(lambda: Sequence(Heads())))
    assert find_fault(net, heads_plan({1, 2}, {1, 2}), TINY) is None
    fault = find_fault(net, heads_plan({1, 2}, {0, 2}), TINY)
    assert fault is not None
    assert fault.layer == "block.proj"


def test_a_block_of_no_effect_is_compared_all_the_same():
    """Layer scales of 1e-6 hide a wrong channel from the logits, not from the check."""

    class Scaled(nn.Module):
        def __init__(self):
            super().__init__()
            self.wide, self.back = nn.Conv2d(16, 32, 1), nn.Conv2d(32, 16, 1)

        def forward(self, x):
            return x + 1e-6 * self.back(F.gelu(self.wide(x)).flip(1))

    net = eval_copy(seeded(lambda: Sequence(Scaled())))
    low, high = Kept(32, tuple(range(16))), Kept(32, tuple(range(16, 32)))
    right = ChannelPlan({"block.wide": {"out": low}, "block.back": {"in": high}})
    wrong = ChannelPlan({"block.wide": {"out": low}, "block.back": {"in": low}})
    assert find_fault(net, right, TINY) is None
    assert find_fault(net, wrong, TINY).layer == "block.back"


def test_a_value_that_differs_is_found_by_layer(monkeypatch):
    """A pruned network whose norm counts the channels there were runs, and computes another."""

    class Counted(nn.Module):
        def forward(self, x):
            return x / (x.abs().sum(1, keepdim=True) / x.shape[1] + 1)

    net = eval_copy(seeded(lambda: Sequence(Counted())))
    half = Kept(16, tuple(range(8)))
    fault = find_fault(net, ChannelPlan({"stem": {"out": half}, "head": {"in": half}}), TINY)
    assert fault is not None
    assert (fault.layer, "something else" in fault.reason) == ("block", True)


def test_float32_alone_will_do():
    class Single(nn.Module):
        def forward(self, x):
            return x @ torch.eye(8)  # of float32, whatever x is

    dense = seeded(lambda: Sequence(Single()))
    assert prune(dense).reached["ratio"] == 0.5
