"""Interface of weight criteria: one score a weight, the lowest go first."""

from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from potstill.errors import ConfigError
from potstill.pruning.weights.masks import masked


class Criterion:
    """Scores the weights of one layer at a time; `criterion(path, weight)` has the weight's shape.

    Class attributes:
        needs: "weights"; or "gradients", and `observe` is called after each backward pass, with
            gradients that all processes share.
    """

    needs: ClassVar[str] = "weights"

    def __call__(self, path: str, weight: Tensor) -> Tensor:
        """Return the scores of the weight at `path`, of its shape."""
        raise NotImplementedError

    def check_scope(self, scope: str) -> None:
        """Raise ConfigError where the scope, layer or global, makes this another criterion."""

    def observe(self, model: nn.Module) -> None:
        """Take in the gradients of the masked weights as they are now."""

    def forget(self) -> None:
        """Start over: the network was pruned."""

    def state_dict(self) -> dict[str, Any]:
        """Return what a resumed run needs."""
        return {}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from what `state_dict` returned."""


class GradientCriterion(Criterion):
    """A criterion whose scores add up over backward passes; a subclass defines `score`.

    Attributes:
        sums: scores so far, by the path of the weight.
    """

    needs = "gradients"

    def __init__(self) -> None:
        self.sums: dict[str, Tensor] = {}

    def score(self, weight: Tensor, gradient: Tensor) -> Tensor:
        """Return the scores by one gradient, of the weight's shape."""
        raise NotImplementedError

    @torch.no_grad()
    def observe(self, model: nn.Module) -> None:
        """Add the scores by the gradients as they are now."""
        for place in masked(model):
            if place.weight.grad is None:
                continue
            score = self.score(place.weight, place.weight.grad)
            if place.path in self.sums:
                score += self.sums[place.path].to(score.device)
            self.sums[place.path] = score

    def __call__(self, path: str, weight: Tensor) -> Tensor:
        """Return the summed scores of the weight at `path`, of its shape."""
        if path not in self.sums:
            raise ConfigError(
                f"criterion={type(self).__name__.lower()}: {path} has had no gradient. "
                "Fix: backward and observe first, or make the layer untouchable"
            )
        return self.sums[path]

    def forget(self) -> None:
        """Drop the sums."""
        self.sums.clear()

    def state_dict(self) -> dict[str, Any]:
        """Return the sums."""
        return {"sums": {path: value.cpu() for path, value in self.sums.items()}}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on summing."""
        self.sums = dict(state["sums"])
