from types import SimpleNamespace

import torch

from potstill.glance import Glance


class Event:
    """A device's, which has not come yet."""

    there = False

    def record(self):
        self.recorded = True

    def query(self):
        assert self.recorded
        return Event.there


class Row:
    """A tensor of a GPU."""

    device = torch.device("cuda")

    def __init__(self, *values):
        self.values = values

    def to(self, device, non_blocking=False):
        assert (device, non_blocking) == ("cpu", True)
        return torch.tensor(self.values)


def test_a_row_of_the_cpu_is_there_at_once():
    glance = Glance()
    assert (glance.step, glance.values) == (-1, [])
    glance.take(4, torch.tensor([1.0, 0.5]))
    assert (glance.step, glance.values) == (4, [1.0, 0.5])
    assert not glance.look()


def test_a_row_of_a_gpu_is_seen_when_it_has_come(monkeypatch):
    monkeypatch.setattr(torch, "get_device_module", lambda _: SimpleNamespace(Event=Event))
    glance = Glance()
    glance.take(4, Row(1.0, 0.5))
    assert not glance.look()
    assert glance.step == -1
    glance.take(5, Row(2.0, 0.5))  # one is on its way
    monkeypatch.setattr(Event, "there", True)
    assert glance.look()
    assert (glance.step, glance.values) == (4, [1.0, 0.5])
    assert not glance.look()
