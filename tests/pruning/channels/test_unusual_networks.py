"""Networks that people bring: shared and parametrized weights, several outputs, dead channels."""

import copy
import warnings
from collections import namedtuple
from dataclasses import dataclass

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.nn.utils import parametrizations
from torchvision.models.googlenet import GoogLeNetOutputs

from potstill.errors import ConfigError
from potstill.models.copies import copy_network
from potstill.pruning.channels.criteria.taylor import Taylor
from potstill.pruning.channels.plan import apply_plan
from potstill.pruning.channels.prune import prune_channels
from potstill.pruning.channels.target import Target
from potstill.quantization.prepare import prepare
from tests.support.odd_nets import TINY, Sequence, images, kept, prune, seeded


class Tied(nn.Module):
    """The same weight twice in a row, each time with a bias of its own."""

    def __init__(self, side=nn.Conv2d):
        super().__init__()
        self.stem = nn.Conv2d(3, 16, 3, padding=1)
        self.first, self.second = nn.Conv2d(16, 16, 1), nn.Conv2d(16, 16, 1)
        self.second.weight = self.first.weight
        self.head = nn.Linear(16, 5)

    def forward(self, x):
        y = F.relu(self.second(F.relu(self.first(F.relu(self.stem(x))))))
        return self.head(y.mean((2, 3)))


class TiedAcross(Tied):
    """Two branches share a weight and are added up."""

    def forward(self, x):
        y = F.relu(self.stem(x))
        return self.head((F.relu(self.first(y)) + torch.sigmoid(self.second(y))).mean((2, 3)))


class TiedOnce(Tied):
    """A layer that is called twice."""

    def forward(self, x):
        y = F.relu(self.first(F.relu(self.first(F.relu(self.stem(x))))))
        return self.head(y.mean((2, 3)))


@pytest.mark.parametrize("make", [Tied, TiedAcross, TiedOnce])
def test_shared_weights_are_pruned_as_one_and_stay_shared(make):
    dense = seeded(make)
    pruned = copy.deepcopy(dense)
    done = prune(pruned)
    assert pruned.first.weight is pruned.second.weight
    into, out = kept(done.plan, "stem", 16), kept(done.plan, "first", 16)
    assert pruned.first.weight.shape == (len(out), len(into), 1, 1)
    assert len(out) == 8
    with torch.no_grad():  # the dense network with zeros where channels went
        dense.stem.weight[[c for c in range(16) if c not in into]] = 0
        dense.stem.bias[[c for c in range(16) if c not in into]] = 0
        gone = [c for c in range(16) if c not in out]
        dense.first.weight[gone] = 0
        dense.head.weight[:, gone] = 0
        dense.first.bias[gone] = dense.second.bias[gone] = 0
        assert torch.allclose(pruned(images()), dense(images()), atol=1e-5)
    pruned(images()).sum().backward()
    assert pruned.first.weight.grad is pruned.second.weight.grad
    again = apply_plan(seeded(make), done.plan)
    assert again.first.weight is again.second.weight


def old_weight_norm(layer):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return nn.utils.weight_norm(layer)


@pytest.mark.parametrize(
    "norm",
    [parametrizations.spectral_norm, parametrizations.weight_norm, old_weight_norm],
    ids=["spectral", "weight", "old weight"],
)
def test_parametrized_weights_are_baked_in_with_a_line(norm):
    dense = seeded(
        lambda: Sequence(norm(nn.Conv2d(16, 16, 3, padding=1)), stem=nn.Conv2d(3, 16, 1))
    )
    pruned, weight = copy_network(dense), dense.block.weight.detach().clone()
    with pytest.warns(UserWarning, match="parametrized weights of block are plain"):
        done = prune(pruned)
    into, out = kept(done.plan, "stem", 16), kept(done.plan, "block", 16)
    assert torch.equal(pruned.block.weight, weight[out][:, into])
    assert pruned.block.weight.requires_grad
    pruned(images()).sum().backward()
    with torch.no_grad():
        assert torch.equal(dense.block.weight, weight)  # the copy left it alone
        maps = F.conv2d(dense.stem(images())[:, into], weight[out][:, into], dense.block.bias[out],
                        padding=1)  # fmt: skip
        wanted = F.linear(maps.mean((2, 3)), dense.head.weight[:, out], dense.head.bias)
        assert torch.allclose(pruned(images()), wanted, atol=1e-5)


@dataclass
class Found:
    features: torch.Tensor
    logits: torch.Tensor


Named = namedtuple("Named", ["maps", "logits"])


class Several(nn.Module):
    def __init__(self, give):
        super().__init__()
        self.stem, self.head, self.give = nn.Conv2d(3, 16, 3), nn.Linear(16, 5), give

    def forward(self, x):
        features = F.relu(self.stem(x)).mean((2, 3))
        return self.give(self.head(features), features)


GIVEN = {
    "tuple": (lambda logits, features: (logits, features), "0"),
    "list, logits last": (lambda logits, features: [features, logits], "1"),
    "dict": (lambda logits, features: {"features": features, "logits": logits}, "logits"),
    "nested": (lambda logits, features: {"maps": features, "out": (logits,)}, "out.0"),
    "dataclass": (lambda logits, features: Found(features, logits), "logits"),
    "namedtuple": (lambda logits, features: Named(features, logits), "logits"),
}


@pytest.mark.parametrize("told", [False, True], ids=["found", "told"])
@pytest.mark.parametrize("name", GIVEN)
def test_logits_are_found_in_what_a_network_returns(name, told):
    give, place = GIVEN[name]
    dense = seeded(lambda: Several(give))
    pruned = copy.deepcopy(dense)
    done = prune(pruned, output=place if told else None)
    there = kept(done.plan, "stem", 16)
    dense.give = pruned.give = lambda logits, features: (logits, features)
    with torch.no_grad():
        features = dense(images())[1][:, there]
        logits, found = pruned(images())
        assert torch.allclose(found, features, atol=1e-6)
        assert torch.allclose(
            logits, F.linear(features, dense.head.weight[:, there], dense.head.bias), atol=1e-5
        )
    assert len(there) == 8


def test_gradients_are_taken_of_the_logits_alone():
    net = seeded(lambda: Several(lambda logits, features: {"a": features, "logits": logits}))
    batches = [(images(), torch.tensor([0, 1, 2, 3]))]
    prune_channels(
        net, TINY, Taylor(), Target(ratio=0.5), round_to=1, batches=batches, loss=F.cross_entropy
    )
    assert net.head.in_features == 8


def test_a_place_that_is_not_there_is_named():
    net = seeded(lambda: Several(lambda logits, features: (features, logits)))
    with pytest.raises(
        ConfigError, match=r"output=logits: .*0 \(1, 16\), 1 \(1, 5\)\. Fix: output="
    ):
        prune(net, output="logits")


class Auxiliary(nn.Module):
    """A second head that runs in training alone, as GoogLeNet's."""

    def __init__(self):
        super().__init__()
        self.stem, self.more = nn.Conv2d(3, 16, 3), nn.Conv2d(16, 16, 3)
        self.head = nn.Linear(16, 5)
        self.aux = nn.Sequential(nn.Conv2d(16, 8, 1), nn.Flatten(), nn.Linear(8 * 36, 5))

    def forward(self, x):
        y = F.relu(self.stem(x))
        logits = self.head(F.relu(self.more(y)).mean((2, 3)))
        return GoogLeNetOutputs(logits, self.aux(y), None) if self.training else logits


def test_layers_that_run_in_training_alone_are_pruned_along():
    dense = seeded(Auxiliary)
    pruned = copy.deepcopy(dense)
    done = prune(pruned)
    stem, aux = kept(done.plan, "stem", 16), kept(done.plan, "aux.0", 8)
    found = pruned.train()(images())
    with torch.no_grad():
        maps = F.conv2d(
            F.relu(dense.stem(images()))[:, stem], dense.aux[0].weight[aux][:, stem],
            dense.aux[0].bias[aux],
        )  # fmt: skip
        weight = dense.aux[2].weight.view(5, 8, 36)[:, aux].flatten(1)
        wanted = F.linear(maps.flatten(1), weight, dense.aux[2].bias)
    assert (len(stem), len(aux)) == (8, 4)
    assert torch.allclose(found.aux_logits2, wanted, atol=1e-5)


class Hanging(nn.Module):
    """An attribute that hangs on a graph, in a list as well."""

    def __init__(self):
        super().__init__()
        self.stem, self.head = nn.Conv2d(3, 16, 3), nn.Linear(16, 5)
        self.scale = nn.Parameter(torch.tensor(2.0))
        self.doubled, self.more = self.scale * 2, [self.scale + 1]

    def forward(self, x):
        y = F.relu(self.stem(x)).mean((2, 3)) * self.doubled.detach() * self.more[0].detach()
        return self.head(y)


def test_an_attribute_on_a_graph_is_copied_detached():
    net = seeded(Hanging)
    assert not net.doubled.is_leaf
    assert prune(net).reached["ratio"] == 0.5
    assert net(images()).isfinite().all()


class Gated(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.norm = nn.Conv2d(3, 32, 3), nn.BatchNorm2d(32)
        self.second, self.head = nn.Conv2d(16, 16, 3), nn.Linear(16, 5)

    def forward(self, x):
        u, v = self.norm(self.first(x)).chunk(2, 1)
        return self.head(F.relu(self.second(F.relu(u) * torch.sigmoid(v))).mean((2, 3)))


@pytest.mark.parametrize("dead", [0, 8, 24, 31])
def test_gated_halves_lose_the_same_channels_dead_or_not(dead):
    for seed in range(3):
        dense = seeded(Gated, seed)
        with torch.no_grad():
            gone = torch.randperm(32)[:dead]
            dense.norm.weight[gone] = dense.norm.bias[gone] = 0
        pruned = copy.deepcopy(dense)
        done = prune(pruned, floor=0.0)
        first, second = kept(done.plan, "first", 32), kept(done.plan, "second", 16)
        left = first[:8]
        assert first == [*left, *(c + 16 for c in left)]
        with torch.no_grad():
            u, v = dense.norm(dense.first(images())).chunk(2, 1)
            maps = (F.relu(u) * torch.sigmoid(v))[:, left]
            maps = F.conv2d(maps, dense.second.weight[second][:, left], dense.second.bias[second])
            wanted = F.linear(
                F.relu(maps).mean((2, 3)), dense.head.weight[:, second], dense.head.bias
            )
            assert torch.allclose(pruned(images()), wanted, atol=1e-5)


def scripted():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return torch.jit.script(Sequence(nn.ReLU()))


def compiled_part():
    net = Sequence(nn.Conv2d(16, 16, 1))
    net.block = torch.compile(net.block)
    return net


def compiled_in_place():
    net = Sequence(nn.ReLU())
    net.compile()
    return net


def one_scripted():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return Sequence(torch.jit.script(nn.Conv2d(16, 16, 1)))


REFUSED = {
    "compiled": (lambda: torch.compile(Sequence(nn.ReLU())), "compiled"),
    "compiled part": (compiled_part, "block is compiled"),
    "compiled in place": (compiled_in_place, "compiled"),
    "scripted": (scripted, "TorchScript"),
    "scripted part": (one_scripted, "block is a TorchScript"),
    "prepared for int8": (lambda: prepare(Sequence(nn.Conv2d(16, 16, 1)).eval()), "quantized"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_networks_whose_layers_cannot_be_replaced_are_refused(name):
    make, reason = REFUSED[name]
    with pytest.raises(ConfigError, match=rf"^model=\w+: .*{reason}.* Fix: prune") as raised:
        prune(make())
    assert "\n" not in str(raised.value)
