"""Train one network and leave its folder: checkpoints, metrics, and the artifact at its end."""

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import torch
from omegaconf import DictConfig, OmegaConf
from torch import nn

from potstill.artifact.file import Artifact, load_artifact, read_artifact, save_artifact
from potstill.artifact.metadata import facts, source
from potstill.artifact.spec import ModelSpec
from potstill.data.datamodule import ImageData
from potstill.distributed import collectives
from potstill.errors import ConfigError
from potstill.models.weights import load_weights
from potstill.pipeline.stages.base import Change
from potstill.training.callbacks.checkpoint import Checkpoint
from potstill.training.callbacks.ema import EMA
from potstill.training.checkpoints.files import last_good
from potstill.training.checkpoints.identity import identity
from potstill.training.module import DistillationModule
from potstill.training.precision import resolve_precision, use_channels_last, use_compile
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
        return self.folder / f"{self.folder.name}.safetensors"


def fit(
    cfg: DictConfig,
    data: ImageData,
    folder: Path,
    module: DistillationModule,
    max_epochs: int | None = None,
    spec: ModelSpec | None = None,
    extra: Sequence[pl.Callback] = (),
) -> TrainedModel:
    """Train `module` in `folder`; with `cfg.resume`, go on where its last checkpoint is.

    A finished folder (it holds the artifact) is read, not trained again. `spec` is that of
    the student as it comes; `extra` are the stage's own callbacks.
    """
    weights = folder / f"{folder.name}.safetensors"
    epochs = cfg.trainer.max_epochs if max_epochs is None else max_epochs
    if cfg.resume and collectives.broadcast(weights.is_file()):
        return _finished(module, data, folder, epochs)
    trainer, start = make_trainer(cfg, folder, epochs, extra), time.perf_counter()
    settings: Any = OmegaConf.to_container(cfg, resolve=True)
    arithmetic = choose_kernels(cfg, trainer.strategy.root_device, data, module, epochs)
    facts_of_fit = {"data_fingerprint": data.fingerprint, "epochs": epochs, **arithmetic}
    _identify(trainer, settings | facts_of_fit)
    for logger in trainer.loggers:
        logger.log_hyperparams(settings)
    last = last_good(folder / "checkpoints") if cfg.resume and collectives.is_first() else None
    resumed = collectives.broadcast(str(last) if last else None)
    trainer.fit(module, datamodule=data, ckpt_path=resumed, weights_only=True)
    seconds = None if resumed else time.perf_counter() - start
    collectives.barrier()  # what the first has written is there for all
    network, spec = _deployed(trainer, module, spec, cfg.select)
    if trainer.is_global_zero:
        about = Artifact(spec, facts(data, module.task), source(cfg, data, folder))
        save_artifact(weights, network, about)
    return TrainedModel(network, folder, trainer.current_epoch, seconds, trainer.loggers, spec)


def choose_kernels(
    cfg: DictConfig, device: torch.device, data: ImageData, module: DistillationModule, epochs: int
) -> dict[str, Any]:
    """Have `module` compute as the config says; return what decides how its results round.

    Raises:
        ConfigError: if a setting cannot take effect.
    """
    precision = resolve_precision(str(cfg.trainer.get("precision")), device)
    steps = epochs * math.ceil(data.num_train / (data.batch_size * collectives.world()))
    module.channels_last = use_channels_last(cfg.channels_last, device, precision, module.student)
    module.compiled = use_compile(cfg.compile, device, steps, precision, module.student_layers)
    return {
        "channels_last": module.channels_last,
        "compile": module.compiled,
        "teacher_arithmetic": module.folded.arithmetic if module.folded else None,
    }


def _identify(trainer: pl.Trainer, settings: dict[str, Any]) -> None:
    """Have checkpoints say what run they are of, and compare it when they are read."""
    for callback in trainer.checkpoint_callbacks:
        if isinstance(callback, Checkpoint):
            callback.identity = identity(settings, {})
            callback.allow = tuple(settings["resume_allow"])


def _finished(
    module: DistillationModule, data: ImageData, folder: Path, epochs: int
) -> TrainedModel:
    weights = folder / f"{folder.name}.safetensors"
    if read_artifact(weights).spec is not None:
        network, artifact = load_artifact(weights)
        return TrainedModel(network, folder, epochs, spec=artifact.spec)
    module.prepare(data.train_targets)
    load_weights(module.export_student(), weights)
    return TrainedModel(module.export_student(), folder, epochs)


def _deployed(
    trainer: pl.Trainer, module: DistillationModule, spec: ModelSpec | None, select: str
) -> tuple[nn.Module, ModelSpec | None]:
    """Return what is kept of a trained module, and how it is built anew."""
    network = _chosen(select, trainer, module)
    network.to(memory_format=torch.contiguous_format)  # as it comes back from its file
    collectives.share(network)
    if network is not module.student:  # a head has added layers that no specification knows
        spec = None
    for change in (c for c in trainer.callbacks if isinstance(c, Change)):  # type: ignore[attr-defined]
        network = change.finish(network)
        if spec and (entry := change.describe()):
            spec = spec.then(entry)
    return network, spec


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
