"""Optimizer states by name: the same numbers for the same parameters, whatever their order."""

import pytest
import torch
from torch import nn

from potstill.errors import DataError
from potstill.training.checkpoints.optimizer_state import name_states


def make(names, groups=1, lr=0.1, seed=0):
    torch.manual_seed(seed)
    network = nn.ModuleDict({name: nn.Linear(2, 2) for name in names})
    parts = torch.tensor_split(torch.arange(len(list(network.parameters()))), groups)
    parameters = list(network.parameters())
    optimizer = torch.optim.Adam([{"params": [parameters[i] for i in part]} for part in parts], lr)
    name_states(optimizer, network.named_parameters())
    return network, optimizer


def step(network, optimizer):
    for number, parameter in enumerate(network.parameters()):
        parameter.grad = torch.full_like(parameter, float(number + 1))
    optimizer.step()


def test_states_are_saved_under_names():
    network, optimizer = make("ab")
    step(network, optimizer)
    state = optimizer.state_dict()
    names = ["a.weight", "a.bias", "b.weight", "b.bias"]
    assert list(state["state"]) == names
    assert [group["params"] for group in state["param_groups"]] == [names]
    # Adam's first average after one step: (1 - beta1) * gradient
    assert torch.allclose(state["state"]["b.weight"]["exp_avg"], torch.full((2, 2), 0.3))


def test_states_follow_their_parameters_to_another_order():
    network, optimizer = make("ab")
    step(network, optimizer)
    other, fresh = make("ba", lr=0.5, seed=1)
    fresh.load_state_dict(optimizer.state_dict())
    found = {name: fresh.state[p]["exp_avg"].mean().item() for name, p in other.named_parameters()}
    expected = {"a.weight": 0.1, "a.bias": 0.2, "b.weight": 0.3, "b.bias": 0.4}
    assert found == pytest.approx(expected)
    assert fresh.param_groups[0]["lr"] == 0.1


def test_saved_positions_are_those_of_torch_alone():
    network, optimizer = make("ab", groups=2)
    step(network, optimizer)
    plain = torch.optim.Adam(
        [{"params": group["params"]} for group in optimizer.param_groups], lr=0.1
    )
    step(network, plain)
    saved = optimizer.state_dict()
    _, fresh = make("ab", groups=2, seed=2)
    fresh.load_state_dict(saved)
    ours = [state["exp_avg"] for state in fresh.state.values()]
    theirs = [state["exp_avg"] for state in plain.state.values()]
    assert all(torch.equal(a, b) for a, b in zip(ours, theirs, strict=True))


@pytest.mark.parametrize(
    ("names", "groups", "message"),
    [("ac", 1, "b.bias, b.weight, c.bias"), ("abc", 1, "c.bias"), ("ab", 2, "other groups")],
)
def test_other_parameters_are_refused(names, groups, message):
    _, optimizer = make("ab")
    _, other = make(names, groups)
    with pytest.raises(DataError, match=f"optimizer state of 4 parameters .*: {message}"):
        other.load_state_dict(optimizer.state_dict())


def test_settings_that_were_not_saved_stay_its_own():
    _, optimizer = make("ab")
    state = optimizer.state_dict()
    state["param_groups"] = [{"params": group["params"]} for group in state["param_groups"]]
    _, other = make("ab", lr=0.7)
    other.load_state_dict(state)
    assert other.param_groups[0]["lr"] == 0.7
