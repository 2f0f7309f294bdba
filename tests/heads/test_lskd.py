import pytest
import torch
from sklearn.preprocessing import StandardScaler

from potstill.heads.lskd import LSKD, standardize
from tests.support.response_inputs import ZS, ZT, Y, check_logit_gradient, golden, signal, value


@pytest.mark.parametrize(
    ("head", "name"), [(LSKD(), "lskd_T2"), (LSKD(base="dkd"), "lsdkd_a1_b8_T2")]
)
def test_official_value(head, name):
    assert value(head) == pytest.approx(golden(name), rel=1e-9)


@pytest.mark.parametrize("base", ["kd", "dkd"])
def test_gradient(base):
    check_logit_gradient(LSKD(base=base))


def test_standardized_by_scikit_learn():
    biased = StandardScaler().fit_transform(ZS.T.numpy()).T * (9 / 10) ** 0.5
    assert standardize(ZS).numpy() == pytest.approx(biased, rel=1e-6)


def test_scale_and_shift_of_logits_change_nothing():
    head, teacher = LSKD(), signal(ZT)
    scaled = head(signal(5 * ZS - 3), teacher, Y).item()
    assert scaled == pytest.approx(head(signal(ZS), teacher, Y).item(), rel=1e-6)


@pytest.mark.parametrize("constant", [0.0, 0.3])
def test_constant_logits_get_a_gradient_that_halves_can_hold(constant):
    logits = torch.full((8, 10), constant, dtype=torch.float16, requires_grad=True)
    LSKD()(signal(logits), signal(ZT.half()), Y).backward()
    assert logits.grad.isfinite().all()
    assert 0 < logits.grad.abs().max() < 10


def test_settings_that_cannot_take_effect():
    with pytest.raises(ValueError, match="only base=dkd"):
        LSKD(beta=2.0)
    with pytest.raises(ValueError, match="base=nkd"):
        LSKD(base="nkd")
