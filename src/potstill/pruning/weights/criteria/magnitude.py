"""L1 magnitude of single weights."""

from torch import Tensor

from potstill.pruning.weights.criteria.base import Criterion


class Magnitude(Criterion):
    """L1 magnitude, |w|."""

    def __call__(self, path: str, weight: Tensor) -> Tensor:
        """Return |w| of a weight (C_out, ...), of its shape."""
        return weight.detach().abs()
