"""Training of one network into its folder: checkpoints, metrics, and the artifact at its end."""

import math
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import torch
from torch import nn

from potstill.artifact.file import read_artifact
from potstill.artifact.spec import ModelSpec
from potstill.config.names import by_name
from potstill.data.loaders.few_labels import Labels
from potstill.distributed import collectives
from potstill.errors import ConfigError
from potstill.models.weights import load_weights
from potstill.pipeline.context import RunContext
from potstill.pipeline.stages.base import Stage
from potstill.pipeline.trained_model import (
    TrainedModel,
    artifact_of,
    is_finished,
    keep,
    read_finished,
)
from potstill.training.callbacks.checkpoint import Checkpoint
from potstill.training.callbacks.ema import EMA
from potstill.training.checkpoints.files import last_good
from potstill.training.checkpoints.identity import identity
from potstill.training.module import DistillationModule
from potstill.training.precision import flattens, use_channels_last, use_compile
from potstill.training.trainer import make_trainer

NO_VIEW = "view size is not compatible"  # torch's words


def fit(
    run: RunContext,
    folder: Path,
    module: DistillationModule,
    epochs: int | None = None,
    spec: ModelSpec | None = None,
    stages: Sequence[Stage] = (),
    callbacks: Sequence[pl.Callback] = (),
    labels: Labels | None = None,
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
        labels: what training shows where only some images are labelled; None for what goes with
            the module: all images where it has a teacher, else those that have a label.
    """
    epochs = run.cfg.trainer.max_epochs if epochs is None else epochs
    if is_finished(run, folder):
        return _read(run, folder, module, epochs)
    start, resumed = time.perf_counter(), _checkpoint(run, folder)
    run.data.labels = labels or ("only" if module.teacher is None else "few")
    trainer = make_trainer(run.node, folder, epochs, callbacks)
    kernels = choose_kernels(run, module, epochs, trainer.callbacks)  # type: ignore[attr-defined]
    _identify(run, trainer, {"epochs": epochs, **kernels})
    for logger in trainer.loggers:
        logger.log_hyperparams(run.settings)
    with _named_layout(run):
        trainer.fit(module, datamodule=run.data, ckpt_path=resumed, weights_only=True)
    seconds = None if resumed else time.perf_counter() - start
    collectives.barrier()  # what the first has written is there for all
    network = _chosen(run.cfg.select, trainer, module)
    if network is not module.student:  # a head has added layers that no specification knows
        spec = None
    fitted = keep(run, folder, network, spec, stages)
    fitted.epochs, fitted.seconds, fitted.loggers = trainer.current_epoch, seconds, trainer.loggers
    return fitted


@contextmanager
def _named_layout(run: RunContext) -> Iterator[None]:
    """Name the setting where something flattens weights by view that nobody knows to do so."""
    try:
        yield
    except RuntimeError as error:
        if NO_VIEW not in str(error):
            raise
        raise ConfigError(
            f"channels_last={run.cfg.channels_last}: something flattens weights by view, which "
            "needs another layout. Fix: channels_last=false"
        ) from error


def choose_kernels(
    run: RunContext, module: DistillationModule, epochs: int, callbacks: Iterable[pl.Callback] = ()
) -> dict[str, Any]:
    """Have `module` compute as configured; return what decides how its results round.

    Raises:
        ConfigError: if a setting cannot take effect.
    """
    cfg, device, precision = run.cfg, run.device, run.precision
    steps = epochs * math.ceil(run.data.num_train / (run.data.batch_size * collectives.world()))
    flat = flattens(callbacks, module.optimizer)
    module.channels_last = use_channels_last(
        cfg.channels_last, device, precision, module.student, flat
    )
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
    """Return the network to keep, the same in every process and as it comes back from its file."""
    network = _selected(select, trainer, module)
    network.to(memory_format=torch.contiguous_format)
    collectives.share(network)
    return network


def _selected(select: str, trainer: pl.Trainer, module: DistillationModule) -> nn.Module:
    """Return the network of the last epoch, of the best by validation, or the average."""
    if select == "last":
        return module.export_student()
    if select == "ema":
        average = next(c for c in trainer.callbacks if isinstance(c, EMA))  # type: ignore[attr-defined]
        return average.average(module)
    best = next(
        (c for c in trainer.checkpoint_callbacks if getattr(c, "best_model_path", "")), None
    )
    if select != "best" or best is None:
        raise ConfigError(
            f"select={select}: this fit ended before its first validation, so that no epoch is "
            "best. Fix: select=last, or a longer fit"
        )
    path = best.best_model_path  # type: ignore[attr-defined]
    module.load_state_dict(torch.load(path, weights_only=True)["state_dict"])
    return module.export_student()
