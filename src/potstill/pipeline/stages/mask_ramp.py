"""Callback that prunes weights on a ramp of sparsity while a network trains."""

import logging
from collections.abc import Callable
from typing import Any

import lightning.pytorch as pl
from torch import Tensor, nn
from torch.optim import Optimizer

from potstill.pipeline.stages.held_masks import HeldMasks
from potstill.pruning.weights.criteria.base import Criterion
from potstill.pruning.weights.masks import set_masks
from potstill.pruning.weights.schedules import Ramp
from potstill.pruning.weights.sparsity import compressed_bytes, masked_share
from potstill.training.module import DistillationModule
from potstill.training.steps import count_steps

log = logging.getLogger("potstill")


class MaskRamp(HeldMasks):
    """Prune the student's masked weights at the steps of a ramp, and hold what is pruned.

    Args:
        choose: (network, sparsity) -> the masks by weight.
        criterion: whose sums over gradients are added up between two prunings.
        ramp: a fit's number of steps -> its ramp.
    """

    def __init__(
        self,
        choose: Callable[[nn.Module, float], dict[str, Tensor]],
        criterion: Criterion,
        ramp: Callable[[int], Ramp],
    ) -> None:
        self.choose, self.criterion, self.laid = choose, criterion, ramp
        self.ramp: Ramp | None = None

    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Lay the ramp over the steps of this fit."""
        self.ramp = self.laid(count_steps(trainer))

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
        super().on_before_optimizer_step(trainer, pl_module, optimizer)

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
