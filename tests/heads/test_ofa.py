import pytest
import torch

from potstill.heads.ofa import OFA
from tests.support.response_inputs import ZS, ZT, check_logit_gradient, golden, signal, value


@pytest.mark.parametrize(
    ("head", "name"),
    [
        (OFA(), "ofa_eps1"),
        (OFA(eps=1.5, temperature=2), "ofa_eps1.5_T2"),
    ],
)
def test_official_value(head, name):
    assert value(head) == pytest.approx(golden(name), rel=1e-9)


def test_gradient():
    check_logit_gradient(OFA())


def test_exponent_of_one_is_cross_entropy_under_the_teacher():
    expected = -(ZT.softmax(1) * ZS.log_softmax(1)).sum(1).mean()
    assert value(OFA()) == pytest.approx(expected.item(), rel=1e-12)


def test_exponent_above_one_raises_the_labelled_class_alone():
    q, y = torch.tensor([[0.6, 0.4]]), torch.tensor([0])
    found = OFA(eps=2)(signal(torch.zeros(1, 2)), signal(q.log()), y)
    expected = ((1.6**2 - 1) + 0.4**2) * torch.tensor(2.0).log()
    torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("eps", [0, -1, float("nan")])
def test_exponent(eps):
    with pytest.raises(ValueError, match="eps must be positive"):
        OFA(eps=eps)
