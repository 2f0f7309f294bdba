"""Schedules of learning rates: pure functions of the step."""

import math
from collections.abc import Callable, Sequence

import torch
from torch.optim import SGD, Optimizer
from torch.optim.lr_scheduler import LambdaLR, LRScheduler

from potstill.config.ranges import Ranges
from potstill.errors import ConfigError

RANGES: Ranges = {
    "warmup_epochs": "[0, inf)",
    "floor": "[0, 1]",
    "gamma": "(0, 1]",
    "milestones": "(0, inf)",
}


def _warmed(decay: Callable[[float], float], warmup: int) -> Callable[[int], float]:
    return lambda step: (step + 1) / warmup if step < warmup else decay(step)


def cosine(
    optimizer: Optimizer,
    total_steps: int,
    steps_per_epoch: int,
    warmup_epochs: float = 0,
    floor: float = 0.0,
) -> LambdaLR:
    """Warm up linearly, then follow half a cosine to `floor` times the learning rate.

    SGDR without restarts (Loshchilov & Hutter 2017, arXiv:1608.03983).
    """
    warmup = _count_warmup(warmup_epochs, steps_per_epoch, total_steps)

    def decay(step: float) -> float:
        done = min((step - warmup) / max(total_steps - warmup, 1), 1.0)
        return floor + (1 - floor) * (1 + math.cos(math.pi * done)) / 2

    return LambdaLR(optimizer, _warmed(decay, warmup))


def step(
    optimizer: Optimizer,
    total_steps: int,
    steps_per_epoch: int,
    milestones: Sequence[float],
    gamma: float = 0.1,
    warmup_epochs: float = 0,
) -> LambdaLR:
    """Multiply the learning rate by `gamma` at each milestone.

    A milestone below 1 is a share of all steps, so that fits of any length have it: a teacher's
    and a stage's as well as the student's. Another is an epoch.

    Raises:
        ConfigError: if none of them is reached, or one is not above 0.
    """
    warmup = _count_warmup(warmup_epochs, steps_per_epoch, total_steps)
    places = [m * (total_steps if m < 1 else steps_per_epoch) for m in milestones]
    if not places or min(places) <= 0 or min(places) >= total_steps:
        raise ConfigError(
            f"module.scheduler.milestones={list(milestones)}: one must lie above 0 and before the "
            f"end, {total_steps / steps_per_epoch:g} epochs. Fix: shares of all steps, such as 0.5"
        )

    def decay(at: float) -> float:
        return gamma ** sum(at >= place for place in places)

    return LambdaLR(optimizer, _warmed(decay, warmup))


def constant(
    optimizer: Optimizer, total_steps: int, steps_per_epoch: int, warmup_epochs: float = 0
) -> LambdaLR:
    """Keep the learning rate, after a linear warm-up."""
    warmup = _count_warmup(warmup_epochs, steps_per_epoch, total_steps)
    return LambdaLR(optimizer, _warmed(lambda _: 1.0, warmup))


def _count_warmup(epochs: float, steps_per_epoch: int, total_steps: int) -> int:
    warmup = round(epochs * steps_per_epoch)
    if epochs < 0:
        raise ConfigError(f"module.scheduler.warmup_epochs={epochs}: below 0. Fix: 0 or more")
    # A run cut short (to one batch, for example) has no room for the warm-up it was given.
    return min(warmup, total_steps // 2)


def rehearse(scheduler: Callable[..., LRScheduler] | None, key: str, epochs: int) -> None:
    """Make the schedule of a fit of `key=epochs`, to see whether it can be.

    Raises:
        ConfigError: if it cannot.
    """
    if scheduler is None or epochs < 1:
        return
    steps_per_epoch = 1000
    optimizer = SGD([torch.zeros(1, requires_grad=True)], lr=1.0)
    try:
        scheduler(optimizer, steps_per_epoch * epochs, steps_per_epoch)
    except ConfigError as error:
        raise ConfigError(f"{key}={epochs}: {error}") from error
