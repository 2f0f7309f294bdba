"""Networks that return more than logits return them alone, and stay what they were."""

import copy
import logging
from collections import namedtuple
from dataclasses import dataclass

import pytest
import torch
from torch import fx, nn
from torchvision.models import googlenet

from potstill.errors import ConfigError
from potstill.models.features import logits_alone as module
from potstill.models.features.logits_alone import logits_alone, select_at
from tests.oddlab.nets import Auxiliary

SHAPE = (3, 8, 8)


@dataclass
class Found:
    features: torch.Tensor
    logits: torch.Tensor


Pair = namedtuple("Pair", ["first", "second"])


class Gives(nn.Module):
    """Batch norm, dropout and a classifier; `give` decides what is returned in which mode."""

    def __init__(self, give):
        super().__init__()
        self.norm, self.drop = nn.BatchNorm2d(3), nn.Dropout(0.5)
        self.head, self.side, self.give = nn.Linear(3, 5), nn.Linear(3, 5), give

    def forward(self, x):
        features = self.drop(self.norm(x).mean((2, 3)))
        return self.give(features, self.head(features), self.side(features), self.training)


GIVEN = {
    "tuple": (lambda f, a, b, training: (f, a), "1"),
    "list": (lambda f, a, b, training: [a, f], "0"),
    "dict": (lambda f, a, b, training: {"f": f, "logits": a, "b": b}, "logits"),
    "dataclass": (lambda f, a, b, training: Found(f, a), "logits"),
    "namedtuple": (lambda f, a, b, training: Pair(f, a), "second"),
    "nested": (lambda f, a, b, training: {"maps": [f], "out": {"y": (a,)}}, "out.y.0"),
    "probabilities beside": (lambda f, a, b, training: (a.softmax(1), a), "1"),
    "in training alone": (lambda f, a, b, training: {"logits": a, "b": b} if training else a,
                          "logits"),
    "one more in training": (lambda f, a, b, training: (a, f, b) if training else (a, f), "0"),
}  # fmt: skip


@pytest.mark.parametrize("training", [False, True], ids=["eval", "train"])
@pytest.mark.parametrize("name", GIVEN)
def test_logits_are_returned_alone_in_either_mode(name, training):
    give, place = GIVEN[name]
    torch.manual_seed(0)
    net = Gives(give).train(training)
    plain, before = copy.deepcopy(net), copy.deepcopy(net.state_dict())
    plain.give = lambda f, a, b, training: a
    random = torch.get_rng_state()
    assert logits_alone(net, SHAPE, 5) is net
    assert torch.equal(torch.get_rng_state(), random)
    assert (type(net).place, type(net).__name__, net.training) == (place, "Gives", training)
    assert isinstance(net, Gives)
    for key, value in net.state_dict().items():
        assert torch.equal(value, before[key])  # batch norm has seen nothing
    images = torch.randn(4, *SHAPE)
    for one in (net, copy.deepcopy(logits_alone(net, SHAPE, 5))):
        torch.manual_seed(1)
        wanted = plain(images)
        torch.manual_seed(1)
        assert torch.equal(one(images), wanted)
        plain.load_state_dict(before)


def test_a_network_of_logits_stays_as_it_is():
    net = Gives(lambda f, a, b, training: a)
    assert type(logits_alone(net, SHAPE)) is Gives


def test_a_place_may_be_named_where_several_would_do():
    net = select_at(Gives(lambda f, a, b, training: (a, {"more": b})), "1.more")
    images = torch.randn(4, *SHAPE)
    assert torch.equal(
        logits_alone(net.eval(), SHAPE)(images), net.side(net.norm(images).mean((2, 3)))
    )


REFUSED = {
    "two of the classes": (lambda f, a, b, training: (f, a, b), None,
                           r"^module.student.output: .* any of 1 \(2, 5\), 2 \(2, 5\)\. "
                           r"Fix: module.student.output=PLACE"),
    "two names": (lambda f, a, b, training: [{"logits": a}, {"logits": b}], None,
                  r"any of 0\.logits \(2, 5\), 1\.logits \(2, 5\)\."),
    "none": (lambda f, a, b, training: {"text": "no"}, None, r"could be any of no tensor \(dict\)"),
    "not there": (lambda f, a, b, training: (f, a), "logits",
                  r"^module.student.output=logits: .* 0 \(2, 3\), 1 \(2, 5\)\. Fix"),
    "nothing to choose": (lambda f, a, b, training: a, "0",
                          r"^module.student.output=0: .* a tensor alone. Fix: leave it out"),
    "two places": (lambda f, a, b, training: {"logits": a} if training else (f, a), None,
                   r"at logits in training and at 1 otherwise"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_told_is_refused_with_the_key(name):
    give, place, message = REFUSED[name]
    net = Gives(give) if place is None else select_at(Gives(give), place)
    with pytest.raises(ConfigError, match=message) as raised:
        logits_alone(net, SHAPE, 5, "module.student")
    assert "\n" not in str(raised.value)


def test_a_traced_graph_of_several_outputs_is_refused():
    traced = fx.symbolic_trace(Gives(lambda f, a, b, training: {"logits": a}).eval())
    with pytest.raises(ConfigError, match=r"model.output=logits: a traced graph"):
        logits_alone(traced, SHAPE)


def test_what_serves_auxiliary_outputs_alone_is_frozen_with_a_line(caplog):
    module._warn_once.cache_clear()
    net = logits_alone(Auxiliary(5), (3, 16, 16), 5, "module.student")
    frozen = {name for name, p in net.named_parameters() if not p.requires_grad}
    assert frozen == {"aux.2.weight", "aux.2.bias"}
    assert caplog.record_tuples[0][1:] == (
        logging.WARNING, "module.student: aux serve no logits, and do not train"
    )  # fmt: skip


@pytest.mark.slow
def test_googlenet_with_auxiliary_outputs():
    torch.manual_seed(0)
    net = googlenet(num_classes=10, aux_logits=True, init_weights=False)
    plain = copy.deepcopy(net)
    logits_alone(net, (3, 64, 64), 10)
    images = torch.randn(2, 3, 64, 64)
    torch.manual_seed(1)
    wanted = plain(images).logits
    torch.manual_seed(1)
    assert torch.equal(net(images), wanted)
    assert torch.equal(net.eval()(images), plain.eval()(images))
