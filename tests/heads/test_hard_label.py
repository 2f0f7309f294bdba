import pytest
import torch
from sklearn.metrics import log_loss

from potstill.heads.hard_label import HardLabel
from tests.support.response_inputs import ZS, ZT, Y, check_logit_gradient, golden, signal


def test_value_is_scikit_learns():
    expected = log_loss(ZT.argmax(1).numpy(), ZS.softmax(1).numpy(), labels=list(range(10)))
    assert HardLabel()(signal(ZS), signal(ZT), Y).item() == pytest.approx(expected, rel=1e-12)


def test_teacher_that_chooses_the_label_gives_the_task_loss():
    teacher = torch.nn.functional.one_hot(Y, 10).double()
    loss = HardLabel()(signal(ZS), signal(teacher), Y)
    assert loss.item() == pytest.approx(golden("ce"), rel=1e-9)


def test_gradient():
    check_logit_gradient(HardLabel())
