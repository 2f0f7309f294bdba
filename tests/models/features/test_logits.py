import pytest
import torch
from torch import nn

from potstill.errors import ConfigError
from potstill.models.features.logits import find_logits, select_logits


class Returns(nn.Module):
    """Features (N, 12) of a pool, and logits (N, 5) and (N, 7) of two linear layers."""

    def __init__(self, give):
        super().__init__()
        self.first, self.second, self.give = nn.Linear(12, 5), nn.Linear(12, 7), give

    def forward(self, x):
        features = x.flatten(2).repeat(1, 4, 1).mean(2)
        return self.give(features, self.first(features), self.second(features))


FOUND = {
    "a tensor": (lambda f, a, b: a, None, ""),
    "the linear layer's": (lambda f, a, b: (f, a), None, "1"),
    "by name": (lambda f, a, b: {"logits": b, "aux": a}, None, "logits"),
    "by classes": (lambda f, a, b: (a, b), 7, "1"),
    "of equals the first": (lambda f, a, b: {"main": (a,), "aux": (a + 1,)}, 5, "main.0"),
}


@pytest.mark.parametrize("case", FOUND)
def test_where_logits_are_found(case):
    give, classes, place = FOUND[case]
    net = Returns(give).train()
    assert find_logits(net, (3, 4, 4), classes) == place
    assert net.training
    assert select_logits(net(torch.ones(2, 3, 4, 4)), place).shape[1] in (5, 7)


@pytest.mark.parametrize(
    ("give", "message"),
    [
        (lambda f, a, b: (a, b), r"could be any of 0 \(2, 5\), 1 \(2, 7\)\. Fix: output=PLACE"),
        (lambda f, a, b: "no", r"any of no tensor \(str\)\. Fix"),
    ],
)
def test_what_cannot_be_told_is_refused(give, message):
    with pytest.raises(ConfigError, match=message):
        find_logits(Returns(give), (3, 4, 4))
