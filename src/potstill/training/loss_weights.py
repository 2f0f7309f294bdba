"""Weights of the terms of the loss."""

import math
from collections.abc import Mapping

from potstill.errors import ConfigError
from potstill.heads.base import Head


class Weighting:
    """The weight of the task and of each head at an epoch.

    With `alpha`, the task has 1 - alpha and every response head alpha; features and relations
    keep their own weights. Without, the task has `task_weight` (1) and every head its own.

    Raises:
        ConfigError: if alpha is outside [0, 1], or given together with free weights.
    """

    def __init__(
        self, heads: Mapping[str, Head], alpha: float | None, task_weight: float | None
    ) -> None:
        if alpha is not None:
            _check_alpha(alpha, heads, task_weight)
        self.heads, self.alpha = dict(heads), alpha
        self.task_weight = 1.0 if task_weight is None else task_weight

    def at(self, epoch: float) -> dict[str, float]:
        """Return the weights by name, with "task" among them."""
        weights = {name: self._of(head, epoch) for name, head in self.heads.items()}
        task = self.task_weight if self.alpha is None else 1 - self.alpha
        return {"task": task, **weights}

    def _of(self, head: Head, epoch: float) -> float:
        if self.alpha is not None and head.kind == "response":
            return self.alpha
        return head.weight_at(epoch)


def _check_alpha(alpha: float, heads: Mapping[str, Head], task_weight: float | None) -> None:
    if not (math.isfinite(alpha) and 0 <= alpha <= 1):
        raise ConfigError(f"alpha={alpha}: must be in [0, 1]. Fix: alpha=0.5, or null")
    if task_weight is not None:
        raise ConfigError(f"module.task_weight={task_weight}: alpha={alpha} too. Fix: alpha=null")
    for name, head in heads.items():
        if head.kind == "response" and head.weight is not None:
            raise ConfigError(
                f"module.heads.{name}.weight: alpha={alpha} too. Fix: alpha=null or weight=null"
            )
