"""What a stage does to a network's structure, and how its file will say so."""

from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

import lightning.pytorch as pl
from torch import nn

from potstill.artifact.spec import Entry


class Change(pl.Callback):
    """A callback after which the student is another network.

    It changes structure in `setup` only, where everything that listens to layers or steps
    parameters comes later. `steps` makes it iterative: the stage is run once for each.

    Class attributes:
        to_integers: whether what is deployed can no longer be trained.
    """

    to_integers: ClassVar[bool] = False

    @property
    def steps(self) -> int:
        """How many times the stage is run, each time going further."""
        return 1

    def at(self, step: int, previous: Path | None = None) -> "Change":
        """Return what the stage's `step` does, from 0 on; `previous` is the folder before it."""
        return self

    def rehearse(self, network: nn.Module, image_shape: Sequence[int]) -> nn.Module:
        """Return a network of the shape that will result; raise now what would go wrong later.

        `network` is a copy that may be changed.

        Raises:
            ConfigError: if a setting cannot take effect on this network.
        """
        return network

    def finish(self, network: nn.Module) -> nn.Module:
        """Return what is deployed of a trained network."""
        return network

    def describe(self) -> Entry | None:
        """Return the deployed network's transform; None where its structure is as before."""
        return None
