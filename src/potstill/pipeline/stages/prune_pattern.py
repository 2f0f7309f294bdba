"""Pruning to n of every m weights while training (n:m sparsity, arXiv:2102.04010)."""

from collections.abc import Sequence
from typing import ClassVar

from torch import Tensor, nn

from potstill.config.ranges import Ranges
from potstill.errors import ConfigError
from potstill.pipeline.stages.prune_weights import PruneWeights
from potstill.pruning.weights.criteria.base import Criterion
from potstill.pruning.weights.select import check_pattern, choose_pattern


class PrunePattern(PruneWeights):
    """Leave n of every m weights along the input, at one step; the fit goes on with the rest.

    Hardware with sparse tensor cores runs 2:4 faster, the runtimes exported to here do not.

    Args:
        n: weights that stay, of every m.
        m: weights in a group; layers whose inputs are no multiple of it stay dense.
        criterion: what a weight is worth; None for magnitude.
        start: when, a share of the fit's steps.
        layers, untouchable: names; see `add_masks`.

    Raises:
        ConfigError: if n and m make no pattern.
    """

    ranges: ClassVar[Ranges] = {"n": "[1, m)", "m": "[2, inf)", "start": "[0, 1)"}

    def __init__(
        self,
        n: int = 2,
        m: int = 4,
        criterion: Criterion | None = None,
        start: float = 0.0,
        layers: Sequence[str] = (),
        untouchable: Sequence[str] = (),
    ) -> None:
        if not 0 < n < m:
            raise ConfigError(f"n={n}, m={m}: n of m weights must stay, n under m. Fix: n=2, m=4")
        super().__init__(
            1 - n / m, criterion, start=start, end=start, layers=layers, untouchable=untouchable
        )
        self.n, self.m = n, m

    def check(self, network: nn.Module) -> None:
        """Raise if no layer fits the pattern."""
        check_pattern(network, self.n, self.m)

    def choose(self, network: nn.Module, sparsity: float) -> dict[str, Tensor]:
        """Return the masks by weight that leave n of every m."""
        return choose_pattern(network, self.n, self.m, self.criterion)
