import math

import pytest

from potstill.heads.nkd import NKD
from tests.support.response_inputs import ZS, ZT, Y, check_logit_gradient, golden, signal, value


@pytest.mark.parametrize(
    ("formula", "name"),
    [("paper", "nkd_paper_g1.5_T1"), ("official_code", "nkd_officialcode_g1.5_T1")],
)
def test_official_value(formula, name):
    assert value(NKD(formula=formula)) == pytest.approx(golden(name), rel=1e-9)


@pytest.mark.parametrize("formula", ["paper", "official_code"])
def test_gradient(formula):
    check_logit_gradient(NKD(formula=formula, temperature=2))


def softmax(values: list[float]) -> list[float]:
    powers = [math.exp(v - max(values)) for v in values]
    return [p / sum(powers) for p in powers]


def test_paper_formula_by_hand():
    gamma, temperature, total = 0.7, 3.0, 0.0
    for s, q, y in zip(ZS.tolist(), ZT.tolist(), Y.tolist(), strict=True):
        total -= softmax(q)[y] * math.log(softmax(s)[y])
        others_s = softmax([v / temperature for i, v in enumerate(s) if i != y])
        others_q = softmax([v / temperature for i, v in enumerate(q) if i != y])
        cross = sum(b * math.log(a) for a, b in zip(others_s, others_q, strict=True))
        total -= gamma * temperature**2 * cross
    loss = NKD(gamma, temperature)(signal(ZS), signal(ZT), Y)
    assert loss.item() == pytest.approx(total / len(Y), rel=1e-12)


def test_unknown_formula():
    with pytest.raises(ValueError, match="formula=mine"):
        NKD(formula="mine")
