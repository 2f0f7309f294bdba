"""What the loss would change without a weight, to first order."""

from torch import Tensor

from potstill.pruning.weights.criteria.base import GradientCriterion


class FirstOrder(GradientCriterion):
    """Sum of |w g| over the backward passes."""

    def score(self, weight: Tensor, gradient: Tensor) -> Tensor:
        """Return |w g|, of the weight's shape."""
        return (weight * gradient).abs()
