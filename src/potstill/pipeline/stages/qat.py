"""Quantization-aware training: the student learns with the rounding of its int8 form."""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import ClassVar

import lightning.pytorch as pl
from torch import nn

from potstill.config.ranges import Ranges
from potstill.errors import ConfigError
from potstill.pipeline.stages.context import StageContext
from potstill.pipeline.stages.int8 import Int8Stage
from potstill.quantization.freeze import freeze_batch_norm as freeze_statistics
from potstill.quantization.freeze import freeze_observers as freeze_ranges
from potstill.quantization.scheme import Scheme
from potstill.training.module import DistillationModule
from potstill.training.steps import count_steps

Freeze = Callable[[nn.Module], None]


class QuantizationAwareTraining(Int8Stage):
    """Train the student fake-quantized (Jacob et al. 2018, arXiv:1712.05877), teacher in float.

    Ranges of activations start at the first training batch's and follow the next ones until
    they freeze; batch-norm's statistics train as ever until they freeze. The number of the step
    decides when, and buffers of the student hold whether, so a resumed run goes on bit by bit.

    Args:
        bits: 8.
        momentum: share of a new batch in the moving ranges, in (0, 1].
        freeze_observers: share of the steps after which ranges stay, in (0, 1]; 1 for never.
        freeze_batch_norm: the same for batch-norm's statistics.
        keep_float: layers that stay in float32, with all that is under them.
        max_drop: points of the main score on validation that int8 may cost before a line warns;
            None for no limit.

    Raises:
        ConfigError: if a setting is impossible.
    """

    ranges: ClassVar[Ranges] = {
        "bits": (8,),
        "momentum": "(0, 1]",
        "freeze_observers": "(0, 1]",
        "freeze_batch_norm": "(0, 1]",
    }

    def __init__(
        self,
        bits: int = 8,
        momentum: float = 0.05,
        freeze_observers: float = 2 / 3,
        freeze_batch_norm: float = 2 / 3,
        keep_float: Sequence[str] = (),
        max_drop: float | None = None,
    ) -> None:
        super().__init__(Scheme(bits=bits, momentum=momentum), keep_float, max_drop)
        self.shares = {"freeze_observers": freeze_observers, "freeze_batch_norm": freeze_batch_norm}
        for name, share in self.shares.items():
            if not 0 < share <= 1:
                raise ConfigError(f"{name}={share}: not in (0, 1]. Fix: {name}=0.67")

    def apply(self, network: nn.Module, context: StageContext) -> nn.Module:
        """Return the fake-quantized network."""
        return self.prepared(network, context)

    def callbacks(self) -> list[pl.Callback]:
        """Return what freezes ranges and statistics."""
        events = {"freeze_observers": freeze_ranges, "freeze_batch_norm": freeze_statistics}
        return [FreezeAtSteps({event: self.shares[name] for name, event in events.items()})]


class FreezeAtSteps(pl.Callback):
    """Freeze parts of the student before the steps that shares of the fit come to.

    Args:
        events: what freezes, and after which share of the steps, in (0, 1].
    """

    def __init__(self, events: Mapping[Freeze, float]) -> None:
        self.events = events
        self._due: dict[int, list[Freeze]] = {}

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Find the steps before which something freezes."""
        total = count_steps(trainer)
        self._due = {}
        for event, share in self.events.items():
            # Never before the first step, or no range would ever have been seen.
            self._due.setdefault(math.ceil(share * total), []).append(event)

    def on_train_batch_start(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, *_: object
    ) -> None:
        """Freeze what is due."""
        assert isinstance(pl_module, DistillationModule)
        # Each once: looking at a switch on a GPU costs a wait after every writing to it.
        for step in [step for step in self._due if trainer.global_step >= step]:
            for event in self._due.pop(step):
                event(pl_module.student)
