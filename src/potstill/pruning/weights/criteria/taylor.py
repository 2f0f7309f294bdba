"""First-order Taylor importance of single weights (Molchanov et al. 2019, arXiv:1906.10771)."""

from torch import Tensor

from potstill.pruning.scores import first_order
from potstill.pruning.weights.criteria.base import GradientCriterion


class Taylor(GradientCriterion):
    """(w g)^2: to first order, the squared change of the loss without the weight (equation 8).

    What overflowed in half precision counts as nothing: the optimizer skips such a step.
    """

    def score(self, weight: Tensor, gradient: Tensor) -> Tensor:
        """Return (w g)^2, of the weight's shape."""
        change = first_order(weight.float(), gradient.float())
        return change.square().nan_to_num(nan=0, posinf=0, neginf=0)
