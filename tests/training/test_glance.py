import torch

from potstill.training.glance import Glance
from tests.support.gpu_stand_in import Row, put_in_place

NAMES = ("loss", "accuracy")


def test_a_row_of_the_cpu_is_there_at_once():
    glance = Glance()
    assert (glance.step, glance.values) == (-1, {})
    glance.take(4, NAMES, torch.tensor([1.0, 0.5]))
    assert (glance.step, glance.values) == (4, {"loss": 1.0, "accuracy": 0.5})
    assert not glance.look()


def test_a_row_of_a_gpu_is_seen_when_it_has_come(monkeypatch):
    arrivals, glance = put_in_place(monkeypatch), Glance()
    glance.take(4, NAMES, Row(1.0, 0.5))
    assert not glance.look()
    assert glance.step == -1
    glance.take(5, ("loss",), Row(2.0))  # one is on its way
    arrivals.there = True
    assert glance.look()
    assert (glance.step, glance.values) == (4, {"loss": 1.0, "accuracy": 0.5})
    assert not glance.look()
