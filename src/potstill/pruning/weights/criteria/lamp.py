"""Layer-adaptive magnitude of single weights, LAMP (Lee et al. 2021, arXiv:2010.07611)."""

from torch import Tensor

from potstill.errors import ConfigError
from potstill.pruning.scores import lamp
from potstill.pruning.weights.criteria.base import Criterion


class LAMP(Criterion):
    """w^2 over the sum of the squares of all weights as large or larger, for the scope `global`.

    Within a layer it is the order of magnitudes. In float64 on the CPU, where a running sum is
    the same on every machine and in every process.
    """

    def check_scope(self, scope: str) -> None:
        """Refuse the scope `layer`."""
        if scope == "layer":
            raise ConfigError(
                "criterion=lamp, scope=layer: within a layer LAMP is magnitude. Fix: scope=global"
            )

    def __call__(self, path: str, weight: Tensor) -> Tensor:
        """Return LAMP scores of a weight, of its shape, float64 on the CPU."""
        squares = weight.detach().flatten().cpu().double().square()
        return lamp(squares).view(weight.shape)
