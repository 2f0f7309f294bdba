from decimal import Decimal, getcontext

import pytest
import torch

from potstill.heads.common.schedules import WarmUp
from potstill.heads.dkd import DKD, non_target_class_divergence, target_class_divergence
from potstill.heads.kd import kd_divergence
from tests.support.response_inputs import ZS, ZT, Y, check_logit_gradient, golden, signal, value


@pytest.mark.parametrize(
    ("head", "name"),
    [
        (DKD(), "dkd_a1_b8_T4"),
        (DKD(temperature=1, alpha=1, beta=0.5), "dkd_a1_b0.5_T1"),
        (DKD(alpha=1, beta=0), "dkd_tckd_T4"),
        (DKD(alpha=0, beta=1), "dkd_nckd_T4"),
    ],
)
def test_official_value(head, name):
    assert value(head) == pytest.approx(golden(name), rel=1e-9)


def test_gradient():
    check_logit_gradient(DKD())


def test_kd_is_the_sum_the_paper_takes_apart():
    """Equation 6: KD = TCKD + (1 - p_t) NCKD, image by image."""
    for row in range(len(Y)):
        s, q, y = ZS[row : row + 1], ZT[row : row + 1], Y[row : row + 1]
        others = 1 - (q / 4).softmax(1)[0, y]
        whole = target_class_divergence(s, q, y, 4)
        whole = whole + others * non_target_class_divergence(s, q, y, 4)
        assert whole.item() == pytest.approx(kd_divergence(s, q, 4).item(), rel=1e-12)


def exact_tckd(student: list[float], teacher: list[float], label: int) -> float:
    getcontext().prec = 120
    odds = []
    for logits in (student, teacher):
        powers = [Decimal(z).exp() for z in logits]
        hit = powers[label] / sum(powers)
        miss = sum(p for i, p in enumerate(powers) if i != label) / sum(powers)
        odds.append((hit, miss))
    return float(sum(q * (q / p).ln() for p, q in zip(*odds, strict=True)))


@pytest.mark.parametrize("gap", [120.0, -120.0, 300.0])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_gap_at_which_a_sum_of_probabilities_is_zero(gap, dtype):
    student = torch.tensor([[gap, 0.0, -1.0]], dtype=dtype, requires_grad=True)
    teacher = torch.tensor([[1.0, 0.5, -2.0]], dtype=dtype)
    loss = DKD(temperature=1, beta=0)(signal(student), signal(teacher), torch.tensor([0]))
    loss.backward()
    exact = exact_tckd([gap, 0.0, -1.0], [1.0, 0.5, -2.0], 0)
    assert loss.item() == pytest.approx(exact, rel=1e-6)
    assert student.grad.isfinite().all()
    assert student.grad.abs().max() > 0.1


def test_probabilities_for_a_target_count_by_their_largest():
    soft = torch.nn.functional.one_hot(Y, 10) * 0.9 + 0.01
    assert DKD()(signal(ZS), signal(ZT), soft) == DKD()(signal(ZS), signal(ZT), Y)


def test_warm_up_of_the_authors():
    head = DKD(weight=WarmUp(1.0, 20))
    weights = [head.weight_at(epoch) for epoch in (0, 9, 19, 100)]
    assert weights == pytest.approx([0.05, 0.5, 1.0, 1.0])
