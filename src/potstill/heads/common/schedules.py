"""Schedules of temperatures and weights: pure functions of the epoch."""

import math
from collections.abc import Callable
from typing import ClassVar

from potstill.config.ranges import Ranges

Schedule = Callable[[float], float]


def value_at(setting: "float | Schedule", epoch: float) -> float:
    """Return a constant as it is, a schedule's value at `epoch` (0.0 is the first step).

    Example:
        >>> value_at(4.0, epoch=7.5)
        4.0
        >>> value_at(Linear(8.0, 2.0, epochs=20), epoch=10.0)
        5.0
    """
    return setting(epoch) if callable(setting) else float(setting)


class Halve:
    """Start at `start` and halve every `every` epochs, never below `floor`.

    Example:
        >>> [Halve(8.0, every=10)(epoch) for epoch in (0, 9.5, 10, 25, 99)]
        [8.0, 8.0, 4.0, 2.0, 1.0]
    """

    ranges: ClassVar[Ranges] = {
        "start": "(0, inf)",
        "every": "(0, inf)",
        "floor": "(0, inf)",
    }

    def __init__(self, start: float, every: float, floor: float = 1.0) -> None:
        if start <= 0 or floor <= 0 or every <= 0:
            raise ValueError(
                f"start, every and floor must be positive, got {start}, {every}, {floor}"
            )
        self.start, self.every, self.floor = start, every, floor

    def __call__(self, epoch: float) -> float:
        """Return `start` halved for every `every` epochs that are over, at least `floor`."""
        return max(self.start * 0.5 ** (epoch // self.every), self.floor)


class Linear:
    """Go from `start` to `end` in a straight line over `epochs`, then stay.

    Example:
        >>> [Linear(8.0, 2.0, epochs=20)(epoch) for epoch in (0, 10, 20, 30)]
        [8.0, 5.0, 2.0, 2.0]
    """

    ranges: ClassVar[Ranges] = {
        "start": "[0, inf)",
        "end": "[0, inf)",
        "epochs": "(0, inf)",
    }

    def __init__(self, start: float, end: float, epochs: float) -> None:
        if epochs <= 0:
            raise ValueError(f"epochs must be positive, got {epochs}")
        self.start, self.end, self.epochs = start, end, epochs

    def __call__(self, epoch: float) -> float:
        """Return the value on the line at `epoch`, which may be fractional."""
        return self.start + (self.end - self.start) * min(epoch / self.epochs, 1.0)


class Cosine(Linear):
    """Go from `start` to `end` along half a cosine over `epochs`, then stay.

    Example:
        >>> [round(Cosine(8.0, 2.0, epochs=20)(epoch), 3) for epoch in (0, 5, 10, 20)]
        [8.0, 7.121, 5.0, 2.0]
    """

    def __call__(self, epoch: float) -> float:
        """Return the value on the half cosine at `epoch`, which may be fractional."""
        done = (1 - math.cos(math.pi * min(epoch / self.epochs, 1.0))) / 2
        return self.start + (self.end - self.start) * done


class WarmUp:
    """Grow to `value` over `epochs`, a step an epoch: epoch e (from `first`) has e / epochs of it.

    mdistiller counts from 1 (DKD), the original ReviewKD from 0.

    Example:
        >>> [WarmUp(1.0, epochs=4)(epoch) for epoch in (0, 1.5, 3, 9)]
        [0.25, 0.5, 1.0, 1.0]
    """

    ranges: ClassVar[Ranges] = {
        "value": "[0, inf)",
        "epochs": "[1, inf)",
        "first": "[0, inf)",
    }

    def __init__(self, value: float, epochs: int, first: int = 1) -> None:
        if epochs <= 0:
            raise ValueError(f"epochs must be positive, got {epochs}")
        self.value, self.epochs, self.first = value, epochs, first

    def __call__(self, epoch: float) -> float:
        """Return the share of `value` that the whole epochs so far have reached."""
        return self.value * min((int(epoch) + self.first) / self.epochs, 1.0)
