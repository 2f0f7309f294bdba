import math

import pytest

from potstill.heads.common.schedules import Cosine, Halve, Linear, WarmUp, value_at


def test_constant_or_schedule():
    assert value_at(3, 7.5) == 3.0
    assert value_at(lambda epoch: 2 * epoch, 7.5) == 15.0


def test_halve():
    schedule = Halve(16.0, every=3, floor=3.0)
    assert [schedule(e) for e in (0, 2.9, 3, 6, 9, 300)] == [16.0, 16.0, 8.0, 4.0, 3.0, 3.0]


def test_linear():
    schedule = Linear(1.0, 5.0, epochs=8)
    assert [schedule(e) for e in (0, 2, 4.5, 8, 80)] == [1.0, 2.0, 3.25, 5.0, 5.0]


def test_cosine():
    schedule = Cosine(0.0, -1.0, epochs=10)
    assert schedule(0) == 0.0
    assert schedule(2.5) == pytest.approx(-(1 - math.sqrt(0.5)) / 2)
    assert schedule(5) == pytest.approx(-0.5)
    assert schedule(10) == schedule(99) == -1.0


def test_warm_up_is_mdistillers_from_one_and_reviewkds_from_zero():
    epochs = [0, 0.9, 1, 18.5, 19, 20, 100]
    from_one, from_zero = WarmUp(8.0, 20), WarmUp(8.0, 20, first=0)
    assert [from_one(e) for e in epochs] == pytest.approx([0.4, 0.4, 0.8, 7.6, 8, 8, 8])
    assert [from_zero(e) for e in epochs] == pytest.approx([0, 0, 0.4, 7.2, 7.6, 8, 8])


@pytest.mark.parametrize(
    "make",
    [
        lambda: Halve(0, 1),
        lambda: Halve(1, 0),
        lambda: Halve(1, 1, floor=0),
        lambda: Linear(0, 1, 0),
        lambda: Cosine(0, 1, -1),
        lambda: WarmUp(1, 0),
    ],
)
def test_impossible_settings(make):
    with pytest.raises(ValueError, match="must be positive"):
        make()
