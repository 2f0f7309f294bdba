"""Schedules against torch's own, step for step."""

import re
from functools import partial

import pytest
import torch
from torch.optim.lr_scheduler import CosineAnnealingLR, LinearLR, MultiStepLR, SequentialLR

from potstill.errors import ConfigError
from potstill.training import schedules


def optimizer():
    return torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.4)


def rates(schedule, opt, steps):
    found = []
    for _ in range(steps):
        found.append(opt.param_groups[0]["lr"])
        opt.step()
        schedule.step()
    return found


def test_cosine_equals_torch():
    ours, theirs = optimizer(), optimizer()
    expected = rates(CosineAnnealingLR(theirs, 20), theirs, 20)
    assert rates(schedules.cosine(ours, 20, 5), ours, 20) == pytest.approx(expected)


@pytest.mark.parametrize("floor", [0.0, 0.25])
def test_cosine_after_a_warm_up_equals_torch(floor):
    ours, theirs = optimizer(), optimizer()
    parts = [LinearLR(theirs, 1 / 5, 1, 4), CosineAnnealingLR(theirs, 15, floor * 0.4)]
    expected = rates(SequentialLR(theirs, parts, [5]), theirs, 20)
    found = rates(schedules.cosine(ours, 20, 5, warmup_epochs=1, floor=floor), ours, 20)
    assert found == pytest.approx(expected)


def test_cosine_ends_on_its_floor():
    opt = optimizer()
    found = rates(schedules.cosine(opt, 20, 5, floor=0.25), opt, 23)
    assert found[10] == pytest.approx(0.4 * (0.25 + 0.75 / 2))
    assert found[20:] == pytest.approx([0.1] * 3)


def test_step_equals_torch():
    ours, theirs = optimizer(), optimizer()
    expected = rates(MultiStepLR(theirs, [10, 15]), theirs, 20)
    found = rates(schedules.step(ours, 20, 5, milestones=[2, 3]), ours, 20)
    assert found == pytest.approx(expected)


def test_warm_up_is_linear_by_step():
    opt = optimizer()
    found = rates(schedules.constant(opt, 20, 5, warmup_epochs=1), opt, 7)
    assert found == pytest.approx([0.08, 0.16, 0.24, 0.32, 0.4, 0.4, 0.4])


def test_milestones_below_one_are_shares_of_a_fit_of_any_length():
    for epochs in (4, 20):
        ours, theirs = optimizer(), optimizer()
        places = [epochs * 5 // 2, epochs * 5 * 3 // 4]
        expected = rates(MultiStepLR(theirs, places), theirs, epochs * 5)
        found = rates(schedules.step(ours, epochs * 5, 5, milestones=[0.5, 0.75]), ours, epochs * 5)
        assert found == pytest.approx(expected)


@pytest.mark.parametrize("milestones", [[150, 180], [4], [], [0], [-1, 2]])
def test_milestones_that_cannot_be_are_refused(milestones):
    said = rf"module\.scheduler\.milestones={re.escape(str(milestones))}: .* the end, 4 epochs. Fix"
    with pytest.raises(ConfigError, match=said):
        schedules.step(optimizer(), 20, 5, milestones=milestones)


def test_a_rehearsal_names_the_fit():
    schedules.rehearse(None, "trainer.max_epochs", 5)
    schedules.rehearse(
        partial(schedules.step, milestones=[4]), "teacher.epochs", 0
    )  # is not trained
    schedules.rehearse(partial(schedules.step, milestones=[4]), "trainer.max_epochs", 5)
    with pytest.raises(ConfigError, match=r"teacher\.epochs=4: module\.scheduler\.mil"):
        schedules.rehearse(partial(schedules.step, milestones=[4]), "teacher.epochs", 4)
    with pytest.raises(ConfigError, match=r"warmup_epochs=-1: below 0"):
        schedules.rehearse(partial(schedules.cosine, warmup_epochs=-1), "trainer.max_epochs", 4)
