"""Means of an epoch, the latest step on the host, and numbers that are not finite."""

import math

import pytest
import torch

from potstill.errors import NonFiniteError
from potstill.training.step_metrics import EpochSums, Glance, StepMetrics, check_finite
from tests.support.gpu_stand_in import Row, put_in_place

NAMES = ("loss", "accuracy")


def test_means_are_numpys():
    sums, rows = EpochSums(), torch.randn(5, 2, generator=torch.Generator().manual_seed(0))
    for row in rows:
        assert sums.add({"loss": row[0], "kd": row[1]}).tolist() == row.tolist()
    expected = rows.numpy().mean(0)
    assert sums.means() == pytest.approx({"loss": expected[0], "kd": expected[1]})
    sums.clear()
    assert sums.means() == {}


def test_a_new_term_starts_the_means_anew():
    sums = EpochSums()
    sums.add({"loss": torch.tensor(1.0)})
    sums.add({"loss": torch.tensor(3.0), "kd": torch.tensor(2.0)})
    assert sums.means() == {"loss": 3.0, "kd": 2.0}


def test_saved_sums_go_on_as_if_never_stopped():
    rows = [{"a": torch.tensor(0.1 * k), "b": torch.tensor(1.0 / (k + 3))} for k in range(7)]
    whole, first, second = EpochSums(), EpochSums(), EpochSums()
    for row in rows:
        whole.add(row)
    for row in rows[:4]:
        first.add(row)
    second.load_state_dict(first.state_dict())
    for row in rows[4:]:
        second.add(row)
    assert second.means() == whole.means()
    empty = EpochSums()
    empty.load_state_dict(EpochSums().state_dict())
    assert empty.means() == {}


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


def step(*values):
    return dict(zip(("loss", "kd"), map(torch.tensor, values), strict=True))


def test_a_step_that_is_due_is_seen_and_every_step_counts():
    record = StepMetrics()
    seen = [record.add(k, step(float(k), 1.0), k % 2 == 0) for k in range(4)]
    assert seen == [True, False, True, False]
    assert (record.glance.step, record.glance.values) == (2, {"loss": 2.0, "kd": 1.0})
    assert record.means(4) == {"loss": 1.5, "kd": 1.0}


@pytest.mark.parametrize("is_due", [True, False])
def test_on_a_cpu_a_number_that_is_not_finite_is_found_at_its_step(is_due):
    record = StepMetrics()
    record.add(0, step(1.0, 1.0), is_due)
    with pytest.raises(NonFiniteError, match=r"step=1: kd is not finite. Fix: a lower learning"):
        record.add(1, step(1.0, math.nan), is_due)


def test_on_a_gpu_it_is_found_when_it_has_come(monkeypatch):
    record, arrivals = StepMetrics(), put_in_place(monkeypatch)
    rows = iter([Row(1.0, 2.0), Row(math.inf, 2.0), Row(1.0, 2.0), Row(3.0, 3.0)])
    monkeypatch.setattr(record.sums, "add", lambda _: next(rows))
    record.sums.names = ("loss", "kd")
    assert not record.add(0, {}, True)
    arrivals.there = True
    assert record.add(1, {}, True)
    assert (record.glance.step, record.glance.values) == (0, {"loss": 1.0, "kd": 2.0})
    assert not record.add(2, {}, False)
    with pytest.raises(NonFiniteError, match=r"step=1: loss is not finite"):
        record.add(3, {}, True)


def test_means_that_are_not_finite_are_named():
    record = StepMetrics()
    record.sums.add(step(1.0, math.inf))
    with pytest.raises(NonFiniteError, match=r"step=7: kd is not finite"):
        record.means(7)
    assert StepMetrics().means(0) == {}


def test_all_that_is_not_finite_is_named():
    with pytest.raises(NonFiniteError, match="loss, kd is not finite"):
        check_finite(3, ("loss", "kd"), (math.inf, -math.inf))
    check_finite(3, ("loss", "kd"), (1.7e308, 1.7e308))  # their sum alone is infinite
