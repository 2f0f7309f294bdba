"""Pruning of single weights: on a cubic ramp (arXiv:1710.01878), or at one step."""

from collections.abc import Sequence
from typing import ClassVar

import lightning.pytorch as pl
from torch import Tensor, nn

from potstill.config.ranges import Ranges
from potstill.errors import ConfigError
from potstill.pipeline.stages.base import Stage
from potstill.pipeline.stages.context import StageContext
from potstill.pipeline.stages.mask_ramp import MaskRamp
from potstill.pruning.weights.criteria.base import Criterion
from potstill.pruning.weights.criteria.magnitude import Magnitude
from potstill.pruning.weights.masks import add_masks, remove_masks
from potstill.pruning.weights.schedules import Ramp
from potstill.pruning.weights.select import SCOPES, check_sparsity, choose_masks


class PruneWeights(Stage):
    """Bring the student's sparsity to `sparsity`, and keep every pruned weight at exactly zero.

    The masks are buffers of the student from before step 0; which weights fall is decided
    before an optimizer step, from weights and averaged gradients, so all processes agree.
    A network gets no smaller and no faster by it: its file compresses better, that is all.

    Args:
        sparsity: share of zeros in the end, between 0 and 1.
        criterion: importance of a weight, of `potstill.pruning.weights.criteria`; None for
            magnitude.
        scope: `layer`, the same share of every layer, or `global`, the lowest of all.
        start, end: of the ramp, shares of the fit's steps; equal for one shot.
        every: steps between two prunings on the ramp.
        initial: sparsity at `start`.
        layers, untouchable: names; see `add_masks`.

    Raises:
        ConfigError: if a setting is impossible or can have no effect.
    """

    ranges: ClassVar[Ranges] = {
        "sparsity": "(0, 1)",
        "scope": SCOPES,
        "start": "[0, end]",
        "end": "[0, 1)",
        "every": "[1, inf)",
        "initial": "[0, sparsity)",
    }

    def __init__(
        self,
        sparsity: float,
        criterion: Criterion | None = None,
        scope: str = "layer",
        start: float = 0.0,
        end: float = 0.5,
        every: int = 100,
        initial: float = 0.0,
        layers: Sequence[str] = (),
        untouchable: Sequence[str] = (),
    ) -> None:
        if not 0 < sparsity < 1:
            raise ConfigError(f"sparsity={sparsity}: must be between 0 and 1. Fix: sparsity=0.5")
        if not 0 <= start <= end < 1:
            raise ConfigError(
                f"start={start}, end={end}: must be shares of the fit, in order, below 1. "
                "Fix: start=0.0, end=0.5"
            )
        if every < 1:
            raise ConfigError(f"every={every}: must be at least 1. Fix: every=100")
        if not 0 <= initial < sparsity or (initial and start == end):
            raise ConfigError(
                f"initial={initial}: must be on a ramp, under sparsity={sparsity}. Fix: initial=0.0"
            )
        if not isinstance(criterion, Criterion | None):
            raise ConfigError(
                f"criterion={type(criterion).__name__}: does not score single weights. "
                "Fix: one of the group weight_criterion"
            )
        self.sparsity, self.criterion, self.scope = sparsity, criterion or Magnitude(), scope
        self.start, self.end, self.every, self.initial = start, end, every, initial
        self.layers, self.untouchable = layers, untouchable

    # -- what a subclass may do otherwise ----------------------------------------------------

    def check(self, network: nn.Module) -> None:
        """Raise if the masked network cannot be pruned so."""
        check_sparsity(network, self.sparsity, self.criterion, self.scope)

    def choose(self, network: nn.Module, sparsity: float) -> dict[str, Tensor]:
        """Return the masks by weight that give `sparsity`."""
        return choose_masks(network, sparsity, self.criterion, self.scope)

    # -- the stage ---------------------------------------------------------------------------

    def apply(self, network: nn.Module, context: StageContext) -> nn.Module:
        """Add the masks, of ones, and raise what can be foreseen."""
        add_masks(network, self.layers, self.untouchable)
        self.check(network)
        return network

    def callbacks(self) -> list[pl.Callback]:
        """Return what prunes on the ramp, and holds what is pruned."""
        return [MaskRamp(self.choose, self.criterion, self.ramp)]

    def ramp(self, steps: int) -> Ramp:
        """Return the ramp laid over the steps of a fit."""
        start, end = int(self.start * steps), int(self.end * steps)
        return Ramp(start, end, self.every, self.sparsity, self.initial)

    def finalize(self, network: nn.Module) -> nn.Module:
        """Return the network without masks, the zeros in its weights."""
        return remove_masks(network)
