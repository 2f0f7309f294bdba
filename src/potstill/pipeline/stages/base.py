"""Contract of a stage: a transform of the network, and what happens while it trains."""

from typing import ClassVar

import lightning.pytorch as pl
from torch import Tensor, nn

from potstill.artifact.spec import Entry
from potstill.data.loaders.batch import Batch
from potstill.pipeline.stages.callback import StageCallback
from potstill.pipeline.stages.context import StageContext
from potstill.training.module import DistillationModule


class Stage(StageCallback):
    """A transform of the network that is trained on afterwards, or needs no training.

    The pipeline calls `apply` before a fit and `finalize` after it, once for each of `steps`. In
    anybody's `Trainer(callbacks=[...])` a stage is a callback that does the same, in one step.

    Class attributes:
        trains: whether the network must be trained between the two; if not, it must not be.

    Attributes:
        key: of its settings in a config, for messages; none outside the pipeline.
    """

    trains: ClassVar[bool] = True
    key: str = ""

    @property
    def steps(self) -> int:
        """How often the stage is applied, with a fit after each."""
        return 1

    def apply(self, network: nn.Module, context: StageContext) -> nn.Module:
        """Return the network that is trained, changed in place or another.

        With `context.dry_run` its weights mean nothing, and what would go wrong later is raised.

        Raises:
            ConfigError: if a setting cannot take effect on this network.
        """
        return network

    def callbacks(self) -> list[pl.Callback]:
        """Return what happens while the network trains."""
        return []

    def training_step(self, module: DistillationModule, batch: Batch) -> Tensor:
        """Return the loss of a batch: of one pass; of several, where a stage overrides this.

        `module.one_pass(batch)` is the weighted loss of one.
        """
        return module.one_pass(batch)

    def one_more(self, network: nn.Module, context: StageContext) -> bool:
        """Return whether one more step follows the last of `steps`, now that its fit is done.

        Where a stage overrides this, each step has a folder `NAME-1`, `NAME-2` ..., and what the
        last of them left becomes the stage's network.

        Args:
            network: as finalized after the fit; not to be changed.
            context: of the step that was done.
        """
        return False

    def finalize(self, network: nn.Module) -> nn.Module:
        """Return what is deployed of a trained network, changed in place or another."""
        return network

    def describe(self) -> Entry | None:
        """Return the transform from the network before the stage's first step to `finalize`'s.

        Its `kind` is one of `potstill.artifact.transforms.REBUILD`, or `PLUGIN:FUNCTION`. None
        where the structure is as before.
        """
        return None

    def has_own(self, method: str) -> bool:
        """Return whether a stage has a method of its own in place of the contract's."""
        return getattr(type(self), method) is not getattr(Stage, method)
