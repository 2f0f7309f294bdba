import pytest
import torch

from potstill.heads.common.schedules import Halve
from potstill.heads.kd import KD
from tests.support.response_inputs import ZS, ZT, Y, check_logit_gradient, golden, signal, value


@pytest.mark.parametrize(("temperature", "name"), [(4, "kd_T4"), (1, "kd_T1")])
def test_official_value(temperature, name):
    assert value(KD(temperature)) == pytest.approx(golden(name), rel=1e-9)


def test_gradient():
    check_logit_gradient(KD())


def test_half_precision_is_raised_before_the_loss():
    loss = KD()(signal(ZS.half()), signal(ZT.half()), Y)
    reference = KD()(signal(ZS.half().double()), signal(ZT.half().double()), Y)
    assert loss.dtype == torch.float32
    assert loss.item() == pytest.approx(reference.item(), rel=1e-6)


def test_temperature_follows_its_schedule():
    head = KD(Halve(4.0, every=2))
    head.epoch = 4.0
    assert value(head) == pytest.approx(golden("kd_T1"), rel=1e-9)


@pytest.mark.parametrize("temperature", [0, -1, float("nan"), float("inf")])
def test_impossible_temperature(temperature):
    with pytest.raises(ValueError, match="temperature"):
        KD(temperature)
