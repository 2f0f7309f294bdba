import math

import pytest
import torch

from potstill.heads.ctkd import CTKD
from potstill.heads.kd import kd_divergence
from tests.support.response_inputs import ZS, ZT, Y, check_logit_gradient, golden, signal


def test_official_first_temperature():
    assert CTKD().double().temperature.item() == pytest.approx(golden("ctkd_T_init"), rel=1e-9)


def test_loss_is_kd_at_that_temperature():
    loss = CTKD().double()(signal(ZS), signal(ZT), Y)
    expected = kd_divergence(ZS, ZT, golden("ctkd_T_init"))
    assert loss.item() == pytest.approx(expected.item(), rel=1e-9)


def test_gradient():
    check_logit_gradient(CTKD().double())


def loss_at(g: float) -> float:
    return kd_divergence(ZS, ZT, 1 + 20 / (1 + math.exp(-g))).item()


@pytest.mark.parametrize(("epoch", "scale"), [(0, 0.0), (5, -0.5), (10, -1.0), (50, -1.0)])
def test_temperature_learns_against_the_loss(epoch, scale):
    head = CTKD().double()
    head.epoch = epoch
    head(signal(ZS), signal(ZT), Y).backward()
    slope = (loss_at(1 + 1e-5) - loss_at(1 - 1e-5)) / 2e-5
    assert abs(slope) > 1e-4
    assert head.g.grad.item() == pytest.approx(scale * slope, rel=1e-6, abs=1e-12)


def test_temperature_is_trained_with_the_student():
    assert [name for name, p in CTKD().named_parameters() if p.requires_grad] == ["g"]
    head = CTKD()
    with torch.no_grad():
        head.g.fill_(-100.0)
    assert head.temperature.item() == 1.0


def test_impossible_range():
    with pytest.raises(ValueError, match="t_start=0"):
        CTKD(t_start=0)
