"""Prune single weights while training: on a cubic ramp (arXiv:1710.01878), or at one step."""

import logging
from collections.abc import Sequence
from typing import Any

import lightning.pytorch as pl
from torch import Tensor, nn
from torch.optim import Optimizer

from potstill.errors import ConfigError
from potstill.pipeline.stages.held_masks import HeldMasks
from potstill.pruning.weights.criteria.base import Criterion
from potstill.pruning.weights.criteria.magnitude import Magnitude
from potstill.pruning.weights.masks import (
    add_masks,
    mask_gradients,
    set_masks,
)
from potstill.pruning.weights.schedules import Ramp
from potstill.pruning.weights.select import check_sparsity, choose_masks
from potstill.pruning.weights.sparsity import compressed_bytes, masked_share
from potstill.training.module import DistillationModule
from potstill.training.schedules import count_steps

log = logging.getLogger("potstill")


class PruneWeights(HeldMasks):
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
        self.ramp: Ramp | None = None

    # -- what a subclass may do otherwise ----------------------------------------------------

    def check(self, network: nn.Module) -> None:
        """Raise if the masked network cannot be pruned so."""
        check_sparsity(network, self.sparsity, self.criterion, self.scope)

    def choose(self, network: nn.Module, sparsity: float) -> dict[str, Tensor]:
        """Return the masks by weight that give `sparsity`."""
        return choose_masks(network, sparsity, self.criterion, self.scope)

    # -- structure ---------------------------------------------------------------------------

    def rehearse(self, network: nn.Module, image_shape: Sequence[int]) -> nn.Module:
        """Return the network as it is, its shape will not change; raise what can be foreseen."""
        add_masks(network, self.layers, self.untouchable)
        self.check(network)
        return self.finish(network)

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """Add the masks, before a checkpoint is restored into them."""
        assert isinstance(pl_module, DistillationModule)
        if stage == "fit":
            add_masks(pl_module.student, self.layers, self.untouchable)
            self.check(pl_module.student)

    # -- time --------------------------------------------------------------------------------

    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Lay the ramp over the steps of this fit."""
        total = count_steps(trainer)
        start, end = int(self.start * total), int(self.end * total)
        self.ramp = Ramp(start, end, self.every, self.sparsity, self.initial)

    def on_before_optimizer_step(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, optimizer: Optimizer
    ) -> None:
        """Prune if it is time; mask the gradients before they are clipped."""
        assert isinstance(pl_module, DistillationModule)
        assert self.ramp is not None
        student, step = pl_module.student, trainer.global_step
        if self.criterion.needs == "gradients" and step <= self.ramp.end:
            self.criterion.observe(student)
        if self.ramp.is_due(step):
            self._prune(trainer, student, self.ramp(step))
        mask_gradients(student)

    def _prune(self, trainer: pl.Trainer, student: nn.Module, sparsity: float) -> None:
        if sparsity > 0:
            set_masks(student, self.choose(student, sparsity))
        for logger in trainer.loggers:
            logger.log_metrics({"sparsity": masked_share(student)}, step=trainer.global_step)
        self.criterion.forget()  # the next scores are those of the network as it is now

    def on_fit_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Say what was reached, and what it is good for."""
        assert isinstance(pl_module, DistillationModule)
        assert self.ramp is not None
        if not trainer.is_global_zero:
            return
        if trainer.global_step <= self.ramp.end:
            log.warning(
                "the fit ended at step %d, before the ramp did at step %d",
                trainer.global_step,
                self.ramp.end,
            )
        log.info(
            "%.2f %% of the weights under masks are zero: %d bytes gzipped; neither smaller "
            "unpacked nor faster, but for a runtime made for sparse weights",
            100 * masked_share(pl_module.student),
            compressed_bytes(pl_module.student),
        )

    # -- resume ------------------------------------------------------------------------------

    def state_dict(self) -> dict[str, Any]:
        """Return the scores that are being summed; the masks are in the student's own state."""
        return self.criterion.state_dict()

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on summing."""
        self.criterion.load_state_dict(state_dict)
