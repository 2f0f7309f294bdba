"""A switch is read from its buffer, whoever has written to it."""

import copy

import torch
from torch import nn

from potstill.quantization.flags import is_on


class Lamp(nn.Module):
    def __init__(self, device):
        super().__init__()
        self.register_buffer("lit", torch.tensor(False, device=device))


def test_every_way_of_writing_is_noticed():
    lamp = Lamp("cpu")
    assert not is_on(lamp, "lit")
    lamp.lit.fill_(True)
    assert is_on(lamp, "lit")
    lamp.load_state_dict({"lit": torch.tensor(False)})
    assert not is_on(lamp, "lit")
    lamp.lit = torch.tensor(True)
    assert is_on(lamp, "lit")
    assert is_on(copy.deepcopy(lamp), "lit")


class Elsewhere(torch.Tensor):
    """A tensor that says it is not on the CPU, and counts how often its value is fetched."""

    fetched = 0
    is_cpu = False

    def __bool__(self):
        Elsewhere.fetched += 1
        return bool(self.as_subclass(torch.Tensor))


def test_on_another_device_a_value_is_fetched_once_a_write():
    lamp, Elsewhere.fetched = Lamp("cpu"), 0
    lamp.lit = torch.tensor(False).as_subclass(Elsewhere)
    assert [is_on(lamp, "lit") for _ in range(3)] == [False] * 3
    assert Elsewhere.fetched == 1
    lamp.lit.fill_(True)
    assert [is_on(lamp, "lit") for _ in range(3)] == [True] * 3
    assert Elsewhere.fetched == 2
    lamp.load_state_dict({"lit": torch.tensor(False)})
    assert not is_on(lamp, "lit")
