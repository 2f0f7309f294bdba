"""Allowed new settings; their effect in a run is tested with the callback."""

import math

import pytest
import torch

from potstill.errors import ConfigError
from potstill.training.checkpoints.new_settings import drop_saved_settings, follow_new_schedule
from potstill.training.schedules import cosine


def make(lr, total=10):
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr, momentum=0.9)
    return optimizer, cosine(optimizer, total, 5)


def test_a_schedule_goes_on_at_its_step_with_its_new_settings():
    optimizer, schedule = make(0.1)
    for _ in range(4):
        optimizer.step()
        schedule.step()
    saved = {
        "optimizer_states": [optimizer.state_dict()],
        "lr_schedulers": [schedule.state_dict()],
    }
    drop_saved_settings(saved)
    assert saved["optimizer_states"][0]["param_groups"] == [{"params": [0]}]
    other, resumed = make(0.02, total=20)
    resumed.load_state_dict(saved["lr_schedulers"][0])
    follow_new_schedule(resumed)
    expected = 0.02 * (1 + math.cos(math.pi * 4 / 20)) / 2
    assert other.param_groups[0]["lr"] == pytest.approx(expected, rel=1e-12)
    assert resumed.get_last_lr() == [other.param_groups[0]["lr"]]


def test_a_schedule_that_remembers_cannot_take_new_settings():
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], 0.1)
    with pytest.raises(ConfigError, match="a StepLR cannot go on with other settings"):
        follow_new_schedule(torch.optim.lr_scheduler.StepLR(optimizer, 1))
