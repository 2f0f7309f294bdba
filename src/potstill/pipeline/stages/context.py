"""Context of a stage: what it may read, and where it writes, when it changes a network."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from rich import print as rich_print
from torch import Tensor, nn

from potstill.distributed import collectives
from potstill.errors import ConfigError
from potstill.integrity.sealed import read_sealed, write_sealed

Batches = list[tuple[Tensor, ...]]
Decision = dict[str, Any]  # plain values, as JSON knows them


@dataclass(frozen=True)
class StageContext:
    """Surroundings of one application of a stage.

    Attributes:
        image_shape: (C, H, W) of an image.
        step: how often the stage was applied before, from 0 on.
        folder: of this step, where its decisions are written; None to write none.
        previous: the folder of the step before, None for the first.
        task_loss: of (logits, target), a scalar.
        training_batches: the first so many (image, target) batches of training.
        validate: of a network, its main score on the validation split in points, more being better;
            None where there is no such split.
        device: where measuring is done.
        dry_run: a rehearsal, with untrained weights and blank images; nothing is written.
        say: prints a decision for a person.
    """

    image_shape: tuple[int, ...]
    step: int = 0
    folder: Path | None = None
    previous: Path | None = None
    task_loss: Callable[[Tensor, Tensor], Tensor] | None = None
    training_batches: Callable[[int], Batches] | None = None
    validate: Callable[[nn.Module], float] | None = None
    device: torch.device = torch.device("cpu")  # noqa: RUF009
    dry_run: bool = False
    say: Callable[[str], object] = rich_print

    @property
    def name(self) -> str:
        """The key of the stage in a config, "stage" where it has no folder."""
        return f"stages.{self.folder.name}" if self.folder else "stage"

    def batches(self, count: int) -> Batches:
        """Return the first `count` training batches; one of two blank images in a rehearsal.

        Raises:
            ConfigError: if there are no images here.
        """
        if self.dry_run:
            return [(torch.zeros(2, *self.image_shape), torch.zeros(2, dtype=torch.int64))]
        if self.training_batches is None:
            raise ConfigError(
                "datamodule=None: no images to measure with. Fix: fit with a data module"
            )
        return self.training_batches(count)

    def decided(self, name: str, decide: Callable[[], Decision]) -> Decision:
        """Return what `decide` returns, or what it did in an earlier attempt of this step.

        The first process decides; it is written to `folder / name` before anything follows from
        it, and sent to the others. So a resumed stage repeats the decision, not the measuring.

        Raises:
            DataError: if the file of an earlier attempt is damaged.
        """
        if self.dry_run:
            return decide()
        found: Decision | None = None
        if collectives.is_first():
            path = self.folder / name if self.folder else None
            found = _read(path) if path is not None and path.is_file() else None
            if found is None:
                found = decide()
                if path is not None:
                    write_sealed(path, found)
        shared: Decision = collectives.broadcast(found)
        return shared

    def before(self, name: str) -> Decision | None:
        """Return what the step before decided; None for the first.

        Raises:
            DataError: if its file is missing or damaged.
        """
        return None if self.previous is None else _read(self.previous / name)


def _read(path: Path) -> Decision:
    found: Decision = read_sealed(path, fix="delete the stage's folder")
    return found
