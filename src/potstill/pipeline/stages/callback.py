"""A stage as a Lightning callback: `apply` in `setup`, `finalize` after the fit."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast
from weakref import WeakKeyDictionary

import lightning.pytorch as pl
from torch import nn

from potstill.data.loaders.calibration import first_batches
from potstill.errors import ConfigError
from potstill.models.copies import copy_network
from potstill.pipeline.stages.context import StageContext
from potstill.training.module import DistillationModule

if TYPE_CHECKING:
    from potstill.pipeline.stages.base import Stage


@dataclass
class _Changed:
    """What stages have done to a module: which they are, and which are not finalized yet."""

    stages: list[Any] = field(default_factory=list)
    pending: list[Any] = field(default_factory=list)
    in_training: nn.Module | None = None


_changed: WeakKeyDictionary[nn.Module, _Changed] = WeakKeyDictionary()


class StageCallback(pl.Callback):
    """The other door of a stage, for anybody's Trainer; the pipeline does not go through it.

    Outside of the Trainer `module.student` is what is deployed, from the first fit on. Inside it,
    in another fit or a test, it is the student as it was trained, into which checkpoints fit.
    """

    _added: Sequence[pl.Callback] = ()

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """Apply the stage to the student, once, before a checkpoint is restored."""
        module = _distillation(self, pl_module)
        changed = _changed.setdefault(module, _Changed())
        if changed.in_training is not None:
            module.replace_student(changed.in_training)
            changed.in_training, changed.pending = None, list(changed.stages)
        if stage != "fit":
            return
        if not any(known is self for known in changed.stages):
            this = cast("Stage", self)
            module.replace_student(this.apply(module.student, _context(this, trainer, module)))
            changed.stages.append(self)
            changed.pending.append(self)
            use_training_step(module, changed.stages)
        self._add_callbacks(trainer)

    def _add_callbacks(self, trainer: pl.Trainer) -> None:
        """Have Lightning call the stage's callbacks, from this very round of `setup` on."""
        callbacks: list[pl.Callback] = trainer.callbacks  # type: ignore[attr-defined]
        if not self._added or self._added[0] not in callbacks:
            self._added = cast("Stage", self).callbacks()
            place = callbacks.index(self) + 1
            callbacks[place:place] = self._added

    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Refuse a student that a head has added layers to."""
        module = _distillation(self, pl_module)
        if module.export_student() is not module.student:
            raise ConfigError(
                f"callbacks: the student keeps layers of a head, which {type(self).__name__} "
                "cannot change. Fix: without the head simkd"
            )

    def teardown(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """Put what is deployed in the student's place."""
        module = _distillation(self, pl_module)
        changed = _changed.get(module, _Changed())
        if not any(known is self for known in changed.pending):
            return
        if changed.in_training is None:
            changed.in_training = module.student
            module.replace_student(copy_network(module.student))
        module.replace_student(cast("Stage", self).finalize(module.student))
        changed.pending = [known for known in changed.pending if known is not self]


def use_training_step(module: DistillationModule, stages: Sequence["Stage"]) -> None:
    """Have `module` make its batches' losses by a stage's `training_step`, where one has it.

    Raises:
        ConfigError: if several do.
    """
    own = [stage for stage in stages if stage.has_own("training_step")]
    if len(own) > 1:
        names = " and ".join(type(stage).__name__ for stage in own)
        raise ConfigError(f"transforms: {names} both define a training step. Fix: one of them")
    module.step = own[0].training_step if own else None


def _distillation(stage: StageCallback, module: pl.LightningModule) -> DistillationModule:
    if isinstance(module, DistillationModule):
        return module
    raise ConfigError(
        f"callbacks: {type(stage).__name__} changes the student of a DistillationModule, this is "
        f"a {type(module).__name__}. Fix: DistillationModule(student)"
    )


def _context(stage: "Stage", trainer: pl.Trainer, module: DistillationModule) -> StageContext:
    """Return the surroundings of a stage in a Trainer: all of its steps at once."""
    data = trainer.datamodule  # type: ignore[attr-defined]
    return StageContext(
        image_shape=module.image_shape,
        step=stage.steps - 1,
        folder=Path(trainer.default_root_dir),
        task_loss=module.task.loss,
        training_batches=partial(first_batches, data) if data is not None else None,
        device=trainer.strategy.root_device,
    )
