"""Stands in for a GPU where only its copies to the host are of interest."""

from types import SimpleNamespace

import torch


class Event:
    """A device's; all of them have come once `there` is set."""

    there = False

    def record(self):
        self.recorded = True

    def query(self):
        assert self.recorded
        return type(self).there


class Row:
    """A vector there: of a step, or a sum of such."""

    device = torch.device("cuda")

    def __init__(self, *values):
        self.values = values

    def to(self, device, non_blocking=False):
        assert (device, non_blocking) == ("cpu", True)
        return torch.tensor(self.values)


def put_in_place(monkeypatch):
    """Let rows of `cuda` be copied by it, for one test; returns its events' class."""
    monkeypatch.setattr(Event, "there", False)
    monkeypatch.setattr(torch, "get_device_module", lambda _: SimpleNamespace(Event=Event))
    return Event
