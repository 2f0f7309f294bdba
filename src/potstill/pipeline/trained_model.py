"""Trained networks and their folders, which the artifact at the end makes finished."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torch import nn

from potstill.artifact.file import Artifact, load_artifact, save_artifact
from potstill.artifact.metadata import facts, source
from potstill.artifact.spec import ModelSpec
from potstill.distributed import collectives
from potstill.pipeline.context import RunContext
from potstill.pipeline.stages.base import Stage


@dataclass
class TrainedModel:
    """A trained network, where its files are and what it took.

    `spec` is None for a network that only its experiment can build.
    """

    network: nn.Module
    folder: Path
    epochs: int
    seconds: float | None = None
    loggers: list[Any] = field(default_factory=list)
    spec: ModelSpec | None = None

    @property
    def metrics(self) -> list[Path]:
        """The metrics.csv of every attempt, in order."""
        return sorted(self.folder.glob("metrics*.csv"))

    @property
    def file(self) -> Path:
        """The artifact."""
        return artifact_of(self.folder)


def artifact_of(folder: Path) -> Path:
    """Return where the artifact of a folder is; it is written last."""
    return folder / f"{folder.name}.safetensors"


def keep(
    run: RunContext,
    folder: Path,
    network: nn.Module,
    spec: ModelSpec | None,
    stages: Sequence[Stage] = (),
) -> TrainedModel:
    """Finalize a network and write its artifact, which makes its folder finished."""
    for stage in stages:
        network = stage.finalize(network)
        if spec is not None and (entry := stage.describe()) is not None:
            spec = spec.then(entry)
    if collectives.is_first():
        about = Artifact(spec, facts(run.data, run.task), source(run.cfg, run.data, folder))
        save_artifact(artifact_of(folder), network, about)
    return TrainedModel(network, folder, 0, spec=spec)


def is_finished(run: RunContext, folder: Path) -> bool:
    """Return whether an earlier attempt of the run has finished a folder."""
    return run.cfg.resume and bool(collectives.broadcast(artifact_of(folder).is_file()))


def read_finished(folder: Path, epochs: int) -> TrainedModel:
    """Return what is in a finished folder."""
    network, artifact = load_artifact(artifact_of(folder))
    return TrainedModel(network, folder, epochs, spec=artifact.spec)
