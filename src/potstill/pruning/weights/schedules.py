"""Schedules of sparsity: pure functions of the step."""

from dataclasses import dataclass


def cubic(step: int, start: int, end: int, final: float, initial: float = 0.0) -> float:
    """Return the sparsity at `step`: `initial` up to `start`, `final` from `end` on.

    Between them it is final + (initial - final) * (1 - (step - start) / (end - start))^3:
    fast while much is superfluous, slow at the end (Zhu & Gupta 2017, arXiv:1710.01878).

    Example:
        >>> [round(cubic(step, start=0, end=10, final=0.8), 3) for step in (0, 5, 10, 99)]
        [0.0, 0.7, 0.8, 0.8]
    """
    if step >= end:
        return final
    if step <= start:
        return initial
    left = 1 - (step - start) / (end - start)
    return final + (initial - final) * left**3


@dataclass(frozen=True)
class Ramp:
    """When weights are pruned: at `start`, every `every` steps after it, and at `end`."""

    start: int
    end: int
    every: int
    final: float
    initial: float = 0.0

    def is_due(self, step: int) -> bool:
        """Return whether weights are pruned before optimizer step `step`, counted from 0."""
        inside = self.start <= step < self.end
        return step == self.end or (inside and (step - self.start) % self.every == 0)

    def __call__(self, step: int) -> float:
        """Return the sparsity wanted at `step`."""
        return cubic(step, self.start, self.end, self.final, self.initial)
