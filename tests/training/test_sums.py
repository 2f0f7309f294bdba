import pytest
import torch

from potstill.training.sums import EpochSums


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
