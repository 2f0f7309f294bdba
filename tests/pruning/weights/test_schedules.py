"""The cubic ramp by hand."""

from fractions import Fraction

import pytest

from potstill.pruning.weights.schedules import Ramp, cubic


@pytest.mark.parametrize(
    ("step", "sparsity"), [(0, 0), (2, 0), (3, 0.4625), (4, 0.7), (5, 0.7875), (6, 0.8), (99, 0.8)]
)
def test_by_hand(step, sparsity):
    """0.8 * (1 - 27/64), 0.8 * (1 - 8/64), 0.8 * (1 - 1/64)."""
    assert cubic(step, 2, 6, 0.8) == pytest.approx(sparsity)


def test_equation_one_of_the_paper():
    final, initial, first, count, width = Fraction(9, 10), Fraction(1, 4), 10, 8, 5
    for k in range(count + 1):
        step = first + k * width
        left = 1 - Fraction(step - first, count * width)
        expected = final + (initial - final) * left**3
        found = cubic(step, first, first + count * width, 0.9, 0.25)
        assert found == pytest.approx(float(expected), abs=1e-12)


def test_one_shot():
    assert [cubic(step, 3, 3, 0.5) for step in range(6)] == [0, 0, 0, 0.5, 0.5, 0.5]
    ramp = Ramp(3, 3, 100, 0.5)
    assert [step for step in range(9) if ramp.is_due(step)] == [3]


@pytest.mark.parametrize(
    ("every", "due"), [(1, [2, 3, 4, 5, 6, 7]), (2, [2, 4, 6, 7]), (100, [2, 7])]
)
def test_prunes_at_the_start_every_so_often_and_at_the_end(every, due):
    ramp = Ramp(2, 7, every, 0.5)
    assert [step for step in range(20) if ramp.is_due(step)] == due
    assert ramp(7) == 0.5
