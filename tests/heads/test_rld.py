import pytest
import torch

from potstill.heads.rld import RLD
from tests.support.response_inputs import ZS, ZT, check_logit_gradient, golden, signal, value


@pytest.mark.parametrize(
    ("head", "name"),
    [
        (RLD(), "rld_a1_b8_T4"),
        (RLD(beta=0, alpha_temperature=2), "rld_a1_b0_T2"),
        (RLD(alpha=0, beta=1), "rld_a0_b1_T4"),
    ],
)
def test_official_value(head, name):
    assert value(head) == pytest.approx(golden(name), rel=1e-9)


def test_gradient():
    check_logit_gradient(RLD())


def test_teachers_error_teaches_nothing():
    """The label is the teacher's lowest class: none lies below it."""
    lowest = ZT.argmin(1)
    logits = ZS.clone().requires_grad_()
    loss = RLD(alpha=0)(signal(logits), signal(ZT), lowest)
    (grad,) = torch.autograd.grad(loss, logits)
    assert loss == 0
    assert not grad.any()


@pytest.mark.parametrize("gap", [200.0, -200.0])
def test_gap_at_which_a_probability_is_zero_in_float32(gap):
    student = torch.tensor([[gap, 0.0, -1.0]], requires_grad=True)
    teacher = torch.tensor([[1.0, 0.5, -2.0]])
    loss = RLD(beta=0)(signal(student), signal(teacher), torch.tensor([0]))
    (grad,) = torch.autograd.grad(loss, student)
    exact = RLD(beta=0).double()(
        signal(student.detach().double()), signal(teacher.double()), torch.tensor([0])
    )
    assert loss.item() == pytest.approx(exact.item(), rel=1e-6)
    assert loss.isfinite()
    assert grad.isfinite().all()
