"""Quantization-aware training: the student learns with the rounding its deployed form will have."""

import math
from collections.abc import Callable, Sequence
from typing import Any, ClassVar

import lightning.pytorch as pl
from torch import nn

from potstill.artifact.spec import Entry
from potstill.artifact.transforms import INT8_STATIC
from potstill.errors import ConfigError
from potstill.pipeline.stages.base import Change
from potstill.quantization import freeze
from potstill.quantization.convert import convert
from potstill.quantization.prepare import is_prepared, prepare
from potstill.quantization.scheme import Scheme
from potstill.training.module import DistillationModule
from potstill.training.schedules import count_steps


class QuantizationAwareTraining(Change):
    """Train the student fake-quantized (Jacob et al. 2018, arXiv:1712.05877), teacher in float.

    Ranges of activations start at the first training batch's and follow the next ones until
    they freeze; batch-norm's statistics train as ever until they freeze. The number of the step
    says when, and buffers of the student say whether, so a resumed run goes on bit by bit.

    Args:
        bits: 8.
        momentum: share of a new batch in the moving ranges, in (0, 1].
        freeze_observers: share of the steps after which ranges stay, in (0, 1]; 1 for never.
        freeze_batch_norm: the same for batch-norm's statistics.

    Raises:
        ConfigError: if a setting is impossible.
    """

    to_integers: ClassVar[bool] = True

    def __init__(
        self,
        bits: int = 8,
        momentum: float = 0.05,
        freeze_observers: float = 2 / 3,
        freeze_batch_norm: float = 2 / 3,
    ) -> None:
        self.scheme = Scheme(bits=bits, momentum=momentum)
        self.events: dict[str, tuple[float, Callable[[nn.Module], None]]] = {
            "freeze_observers": (freeze_observers, freeze.freeze_observers),
            "freeze_batch_norm": (freeze_batch_norm, freeze.freeze_batch_norm),
        }
        for name, (share, _) in self.events.items():
            if not 0 < share <= 1:
                raise ConfigError(f"{name}={share}: not in (0, 1]. Fix: {name}=0.67")
        self._due: dict[int, list[Callable[[nn.Module], None]]] = {}

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """Put the fake-quantized student in the student's place, once."""
        assert isinstance(pl_module, DistillationModule)
        if not is_prepared(pl_module.student):
            pl_module.student = prepare(pl_module.student, self.scheme)

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Find the steps before which something freezes."""
        total = count_steps(trainer)
        self._due = {}
        for share, event in self.events.values():
            # Never before the first step, or no range would ever have been seen.
            self._due.setdefault(math.ceil(share * total), []).append(event)

    def on_train_batch_start(self, trainer: pl.Trainer, pl_module: Any, *_: Any) -> None:
        """Freeze what is due."""
        # Each once: looking at a switch on a GPU costs a wait after every writing to it.
        for step in [step for step in self._due if trainer.global_step >= step]:
            for event in self._due.pop(step):
                event(pl_module.student)

    def rehearse(self, network: nn.Module, image_shape: Sequence[int]) -> nn.Module:
        """Return the fake-quantized network."""
        return prepare(network, self.scheme)

    def finish(self, network: nn.Module) -> nn.Module:
        """Return the int8 network."""
        return convert(network)

    def describe(self) -> Entry:
        """Return the transform to the int8 network."""
        return {"kind": INT8_STATIC, **self.scheme.to_dict()}
