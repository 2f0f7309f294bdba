import pytest

from potstill.heads.ttm import TTM
from tests.support.response_inputs import ZS, ZT, check_logit_gradient, golden, value


@pytest.mark.parametrize(
    ("head", "name"),
    [
        (TTM(), "ttm_g0.1"),
        (TTM(gamma=1), "ttm_g1"),
    ],
)
def test_official_value(head, name):
    assert value(head) == pytest.approx(golden(name), rel=1e-9)


def test_gradient():
    check_logit_gradient(TTM())


def test_power_of_one_over_T_is_a_temperature_of_the_teacher():
    q = (ZT / 4).softmax(1)
    expected = (q * (q.log() - ZS.log_softmax(1))).sum(1).mean()
    assert value(TTM(gamma=0.25)) == pytest.approx(expected.item(), rel=1e-12)


@pytest.mark.parametrize("gamma", [0, -1, float("inf"), float("nan")])
def test_exponent(gamma):
    with pytest.raises(ValueError, match="gamma must be positive"):
        TTM(gamma=gamma)
