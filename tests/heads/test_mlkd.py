import numpy as np
import pytest

from potstill.heads.kd import kd_divergence
from potstill.heads.mlkd import MLKD, batch_correlation, class_correlation, mlkd_as_coded
from tests.support.response_inputs import (
    STRONG_ZS,
    STRONG_ZT,
    STUDENT,
    TEACHER,
    ZS,
    ZT,
    Y,
    check_logit_gradient,
    golden,
    value,
)

WEAK, STRONG = (ZS, ZT), (STRONG_ZS, STRONG_ZT)
TEMPERATURES = (4.0, 2.0, 3.0, 5.0, 6.0)


def test_official_correlations():
    assert class_correlation(ZS, ZT, 4).item() == pytest.approx(golden("mlkd_cc_T4"), rel=1e-9)
    assert batch_correlation(ZS, ZT, 4).item() == pytest.approx(golden("mlkd_bc_T4"), rel=1e-9)


def test_official_terms():
    """The golden terms hold the authors' weight of 0.9."""
    terms = [0.9 * term.item() for term in mlkd_as_coded(WEAK, STRONG, TEMPERATURES)]
    names = ("mlkd_loss_kd", "mlkd_loss_cc", "mlkd_loss_bc")
    assert terms == pytest.approx([golden(name) for name in names], rel=1e-9)


def test_official_sum():
    total = sum(golden(name) for name in ("mlkd_loss_kd", "mlkd_loss_cc", "mlkd_loss_bc"))
    head = MLKD()
    assert head.num_views == 2
    assert head.weight_at(0) * value(head) == pytest.approx(total, rel=1e-9)


def test_paper_sums_all_terms_of_both_views():
    def correlations(student: np.ndarray, teacher: np.ndarray, t: float) -> float:
        p, q = np.exp(student / t), np.exp(teacher / t)
        p, q = p / p.sum(1, keepdims=True), q / q.sum(1, keepdims=True)
        by_class = ((p.T @ p - q.T @ q) ** 2).sum() / p.shape[1]
        return by_class + ((p @ p.T - q @ q.T) ** 2).sum() / p.shape[0]

    expected = 0.0
    for s, q in (WEAK, STRONG):
        for t in (4.0, 2.0):
            expected += kd_divergence(s, q, t).item() + correlations(s.numpy(), q.numpy(), t)
    loss = MLKD(temperatures=(4.0, 2.0), formula="paper")(STUDENT, TEACHER, Y)
    assert loss.item() == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("formula", ["paper", "official_code"])
def test_gradient(formula):
    check_logit_gradient(MLKD(formula=formula))


@pytest.mark.parametrize("settings", [{"formula": "mine"}, {"temperatures": ()}])
def test_impossible_settings(settings):
    with pytest.raises(ValueError, match="at least one temperature"):
        MLKD(**settings)
