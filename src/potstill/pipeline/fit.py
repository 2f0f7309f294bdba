"""Training of one network into its folder: checkpoints, metrics, and the artifact at its end."""

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import torch
from torch import nn

from potstill.artifact.file import Artifact, load_artifact, read_artifact, save_artifact
from potstill.artifact.metadata import facts, source
from potstill.artifact.spec import ModelSpec
from potstill.config.names import by_name
from potstill.distributed import collectives
from potstill.errors import ConfigError
from potstill.models.weights import load_weights
from potstill.pipeline.context import RunContext
from potstill.pipeline.stages.base import Stage
from potstill.training.callbacks.checkpoint import Checkpoint
from potstill.training.callbacks.ema import EMA
from potstill.training.checkpoints.files import last_good
from potstill.training.checkpoints.identity import identity
from potstill.training.module import DistillationModule
from potstill.training.precision import use_channels_last, use_compile
from potstill.training.trainer import make_trainer


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


def fit(
    run: RunContext,
    folder: Path,
    module: DistillationModule,
    epochs: int | None = None,
    spec: ModelSpec | None = None,
    stages: Sequence[Stage] = (),
    callbacks: Sequence[pl.Callback] = (),
) -> TrainedModel:
    """Train `module` in `folder`; with `resume`, go on where its last checkpoint is.

    A finished folder (it holds the artifact) is read, not trained again.

    Args:
        run: with the settings of this fit.
        folder: of its files.
        module: whose student has what `stages` apply.
        epochs: how long; None for `trainer.max_epochs`.
        spec: of the network before `stages`.
        stages: what is finalized after the fit.
        callbacks: of this fit, before the run's own.
    """
    epochs = run.cfg.trainer.max_epochs if epochs is None else epochs
    if is_finished(run, folder):
        return _read(run, folder, module, epochs)
    start = time.perf_counter()
    trainer = make_trainer(run.node, folder, epochs, callbacks)
    _identify(run, trainer, {"epochs": epochs, **choose_kernels(run, module, epochs)})
    for logger in trainer.loggers:
        logger.log_hyperparams(run.settings)
    resumed = _checkpoint(run, folder)
    trainer.fit(module, datamodule=run.data, ckpt_path=resumed, weights_only=True)
    seconds = None if resumed else time.perf_counter() - start
    collectives.barrier()  # what the first has written is there for all
    network = _chosen(run.cfg.select, trainer, module)
    network.to(memory_format=torch.contiguous_format)  # as it comes back from its file
    collectives.share(network)
    if network is not module.student:  # a head has added layers that no specification knows
        spec = None
    fitted = keep(run, folder, network, spec, stages)
    fitted.epochs, fitted.seconds, fitted.loggers = trainer.current_epoch, seconds, trainer.loggers
    return fitted


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


def choose_kernels(run: RunContext, module: DistillationModule, epochs: int) -> dict[str, Any]:
    """Have `module` compute as configured; return what decides how its results round.

    Raises:
        ConfigError: if a setting cannot take effect.
    """
    cfg, device, precision = run.cfg, run.device, run.precision
    steps = epochs * math.ceil(run.data.num_train / (run.data.batch_size * collectives.world()))
    module.channels_last = use_channels_last(cfg.channels_last, device, precision, module.student)
    module.compiled = use_compile(cfg.compile, device, steps, precision, module.student_layers)
    return {
        "channels_last": module.channels_last,
        "compile": module.compiled,
        "teacher_arithmetic": module.folded.arithmetic if module.folded else None,
    }


def _identify(run: RunContext, trainer: pl.Trainer, facts_of_fit: dict[str, Any]) -> None:
    """Write the run's identity into checkpoints, and compare it when they are read."""
    found = by_name(run.settings) | {"data_fingerprint": run.data.fingerprint} | facts_of_fit
    for callback in trainer.checkpoint_callbacks:
        if isinstance(callback, Checkpoint):
            callback.identity = identity(found, {})
            callback.allow = tuple(run.cfg.resume_allow)


def _checkpoint(run: RunContext, folder: Path) -> str | None:
    """Return the last good checkpoint of an earlier attempt, None to begin."""
    resumes = run.cfg.resume and collectives.is_first()
    last = last_good(folder / "checkpoints") if resumes else None
    found: str | None = collectives.broadcast(str(last) if last else None)
    return found


def _read(run: RunContext, folder: Path, module: DistillationModule, epochs: int) -> TrainedModel:
    if read_artifact(artifact_of(folder)).spec is not None:
        return read_finished(folder, epochs)
    module.prepare(run.data.train_targets)
    load_weights(module.export_student(), artifact_of(folder))
    return TrainedModel(module.export_student(), folder, epochs)


def _chosen(select: str, trainer: pl.Trainer, module: DistillationModule) -> nn.Module:
    """Return the network to keep: that of the last epoch, or the best by validation."""
    if select == "last":
        return module.export_student()
    if select == "ema":
        average = next(c for c in trainer.callbacks if isinstance(c, EMA))  # type: ignore[attr-defined]
        return average.average(module)
    best = next(
        (c for c in trainer.checkpoint_callbacks if getattr(c, "best_model_path", "")), None
    )
    if select != "best" or best is None:
        raise ConfigError(f"select={select}: must be last, or best with a checkpoint that monitors")
    path = best.best_model_path  # type: ignore[attr-defined]
    module.load_state_dict(torch.load(path, weights_only=True)["state_dict"])
    return module.export_student()
