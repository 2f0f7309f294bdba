import pytest
import torch

from potstill.heads.ttm import TTM
from potstill.heads.wttm import WTTM
from tests.support.response_inputs import check_logit_gradient, golden, signal, value


@pytest.mark.parametrize(
    ("head", "name"),
    [
        (WTTM(), "wttm_g0.2"),
    ],
)
def test_official_value(head, name):
    assert value(head) == pytest.approx(golden(name), rel=1e-9)


def test_gradient():
    check_logit_gradient(WTTM())


def test_image_of_a_sure_teacher_weighs_least():
    """One class has all: U is 1; all classes alike: U is K^(1 - gamma)."""
    sure, flat = torch.tensor([[99.0, 0.0, 0.0]]), torch.zeros(1, 3)
    student, y = torch.tensor([[0.0, 1.0, 2.0]]), torch.tensor([0])
    weighted, plain = WTTM(gamma=0.5), TTM(gamma=0.5)
    for teacher, weight in ((sure, 1.0), (flat, 3**0.5)):
        found = weighted(signal(student), signal(teacher), y)
        expected = weight * plain(signal(student), signal(teacher), y)
        torch.testing.assert_close(found, expected)
