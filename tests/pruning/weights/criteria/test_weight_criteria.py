"""Scores against the papers' formulas, written out in plain Python."""

import pytest
import torch
from torch import nn

from potstill.errors import ConfigError
from potstill.pruning.weights.criteria.base import GradientCriterion
from potstill.pruning.weights.criteria.lamp import LAMP
from potstill.pruning.weights.criteria.magnitude import Magnitude
from potstill.pruning.weights.criteria.random import Random
from potstill.pruning.weights.criteria.taylor import Taylor
from potstill.pruning.weights.masks import add_masks


def lamp_by_definition(values):
    """The order is by magnitude, then by position; every weight against all that follow it."""
    order = sorted(range(len(values)), key=lambda k: (abs(values[k]), k))
    scores = [0.0] * len(values)
    for rank, k in enumerate(order):
        rest = sum(values[j] ** 2 for j in order[rank:])
        scores[k] = values[k] ** 2 / rest if rest else 0.0
    return scores


def test_lamp_by_hand():
    found = LAMP()("", torch.tensor([[3.0, -1.0], [2.0, 0.0]]))
    expected = torch.tensor([[1, 1 / 14], [4 / 13, 0]], dtype=torch.float64)
    torch.testing.assert_close(found, expected)


@pytest.mark.parametrize(
    "values", [torch.randn(40).tolist(), [1.0, -1.0, 1.0, 2.0, -2.0], [0.0, 0.0]]
)
def test_lamp_by_definition(values):
    found = LAMP()("", torch.tensor(values)).tolist()
    exact = torch.tensor(values).double().tolist()
    assert found == pytest.approx(lamp_by_definition(exact), rel=1e-12)


def test_magnitude():
    assert Magnitude()("", torch.tensor([-2.0, 1.0])).tolist() == [2, 1]


def test_taylor_is_the_squared_change_of_a_linear_loss():
    """Where the loss is linear in the weights the first order is exact."""
    layer, image = nn.Linear(3, 2, bias=False), torch.randn(4, 3)
    add_masks(layer)
    layer(image).sum().backward()
    score = Taylor()
    score.observe(layer)
    whole = layer(image).sum()
    for out in range(2):
        for k in range(3):
            less = layer.weight.detach().clone()
            less[out, k] = 0
            change = (image @ less.T).sum() - whole
            found = score("weight", layer.weight)[out, k].item()
            assert found == pytest.approx(change.item() ** 2, rel=1e-3, abs=1e-6)


def test_taylor_sums_over_gradients():
    layer, score = nn.Linear(2, 1, bias=False), Taylor()
    add_masks(layer)
    layer.weight.data = torch.tensor([[2.0, 3.0]])
    for gradient in ([1.0, 2.0], [-1.0, 0.5]):
        layer.weight.grad = torch.tensor([gradient])
        score.observe(layer)
    assert score("weight", layer.weight).tolist() == [[4 + 4, 36 + 2.25]]


def test_taylor_counts_an_overflow_as_nothing():
    weight, gradient = torch.tensor([1.0, 1.0, 2.0]), torch.tensor([float("inf"), float("nan"), 1])
    assert Taylor().score(weight, gradient).tolist() == [0, 0, 4]


def test_taylor_without_gradients():
    with pytest.raises(ConfigError, match=r"criterion=taylor: fc.weight has had no gradient"):
        Taylor()("fc.weight", torch.ones(1))


def test_random_is_a_function_of_seed_and_path():
    weight = torch.zeros(50, 40)
    torch.manual_seed(0)
    one = Random(3)("conv.weight", weight)
    before = torch.get_rng_state()
    assert torch.equal(Random(3)("conv.weight", weight), one)
    assert torch.equal(torch.get_rng_state(), before)
    assert not torch.equal(Random(4)("conv.weight", weight), one)
    assert not torch.equal(Random(3)("fc.weight", weight), one)
    assert abs(one.mean().item() - 0.5) < 0.03


class Movement(GradientCriterion):
    """-w g summed, as somebody else would write it (Sanh et al. 2020, arXiv:2005.07683)."""

    def score(self, weight, gradient):
        return -weight.detach() * gradient


def test_a_criterion_by_gradients_is_one_method():
    layer, score = nn.Linear(2, 1, bias=False), Movement()
    add_masks(layer)
    layer.weight.data = torch.tensor([[2.0, 3.0]])
    for gradient in ([1.0, 2.0], [-3.0, 0.5]):
        layer.weight.grad = torch.tensor([gradient])
        score.observe(layer)
    assert score("weight", layer.weight).tolist() == [[4, -7.5]]
    resumed = Movement()
    resumed.load_state_dict(score.state_dict())
    assert torch.equal(resumed("weight", layer.weight), score("weight", layer.weight))
    score.forget()
    with pytest.raises(ConfigError, match="criterion=movement: weight has had no gradient"):
        score("weight", layer.weight)
