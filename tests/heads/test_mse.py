import pytest
from sklearn.metrics import mean_squared_error

from potstill.heads.mse import MSE
from tests.support.response_inputs import ZS, ZT, Y, check_logit_gradient, signal


def test_value_is_scikit_learns():
    expected = mean_squared_error(ZT.numpy(), ZS.numpy())
    assert MSE()(signal(ZS), signal(ZT), Y).item() == pytest.approx(expected, rel=1e-12)


def test_gradient():
    check_logit_gradient(MSE())
