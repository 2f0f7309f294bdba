"""Stages after distillation: each changes a network, trains it and saves it."""

import time
from typing import Any

import torch
from torch import nn

from potstill.artifact.file import Artifact, load_artifact, save_artifact
from potstill.artifact.metadata import facts, source
from potstill.config.instantiate import instantiate
from potstill.config.stage_settings import Link
from potstill.data.loaders.calibration import first_batches
from potstill.distributed import collectives
from potstill.errors import ConfigError
from potstill.models.copies import copy_network
from potstill.pipeline.experiment import Experiment, spec_of
from potstill.pipeline.fit import TrainedModel, fit
from potstill.pipeline.stages.base import Change
from potstill.training import schedules
from potstill.training.loggers.wandb import finish
from potstill.training.module import DistillationModule


def rehearse(experiment: Experiment, module: DistillationModule, teacher: nn.Module | None) -> None:
    """Take every stage's network through its changes, untrained, and bind its heads.

    Raises:
        ConfigError: if a stage cannot do what it is asked to.
    """
    if experiment.links:
        _check_spec(experiment, module)
    networks: dict[str, nn.Module | None] = {"student": module.student}  # None: in integers
    for link in experiment.links:
        start = networks[link.start]
        if start is None:
            raise ConfigError(
                f"stages.{link.name}.start={link.start}: is in integers by then, which do not "
                "train. Fix: the row before it was quantized"
            )
        networks[link.name] = _rehearse_stage(experiment, link, copy_network(start), teacher)


def _check_spec(experiment: Experiment, module: DistillationModule) -> None:
    first = f"stages.{experiment.links[0].name}"
    if module.export_student() is not module.student:
        raise ConfigError(
            f"{first}: the student keeps layers of a head, which no stage can change. "
            "Fix: without the head simkd, or stages={}"
        )
    if spec_of(experiment.cfg.module.student) is None:
        raise ConfigError(
            f"{first}: no name for {experiment.cfg.module.student._target_}, so its pruned "
            "network could not be built again. Fix: a builder of potstill.models, or a plugin's"
        )


def _rehearse_stage(
    experiment: Experiment, link: Link, network: nn.Module, teacher: nn.Module | None
) -> nn.Module | None:
    shape = experiment.data.image_shape
    if link.settings.quantize is not None:
        instantiate(link.settings.quantize)(network, [torch.zeros(2, *shape)])
        return None
    changes = [c for c in _callbacks(link) if isinstance(c, Change)]
    for change in changes:
        network = change.at(change.steps - 1).rehearse(network, shape)
    distils = link.settings.distil
    module = experiment.module(copy_network(network), teacher if distils else None, link.cfg)
    module.prepare(experiment.data.train_targets)
    schedules.rehearse(module.scheduler, f"stages.{link.name}.epochs", link.settings.epochs)
    if any(change.steps > 1 for change in changes):
        between = f"stages.{link.name}.epochs_between", link.settings.epochs_between
        schedules.rehearse(module.scheduler, *between)
    return None if any(change.to_integers for change in changes) else network


def _callbacks(link: Link) -> list[Any]:
    return [instantiate(node) for node in link.callbacks.values()]


def run_stage(experiment: Experiment, link: Link, teacher: nn.Module | None) -> None:
    """Do one stage, or read what an earlier attempt of the run left of it."""
    if link.settings.quantize is not None:
        experiment.fitted[link.name] = _quantize(experiment, link)
        return
    last = max((c.steps for c in _callbacks(link) if isinstance(c, Change)), default=1) - 1
    previous = experiment.fitted[link.start]
    for step in range(last + 1):
        fitted = _train(experiment, link, previous, teacher, step, last)
        finish(fitted.loggers)
        previous = fitted
    experiment.fitted[link.name] = previous


def _train(
    experiment: Experiment,
    link: Link,
    previous: TrainedModel,
    teacher: nn.Module | None,
    step: int,
    last: int,
) -> TrainedModel:
    """Train one step of a stage; each but the last has a folder of its own, NAME-1, NAME-2 ..."""
    experiment.seed()
    settings = link.settings
    name, epochs = link.name, settings.epochs
    if step < last:
        name, epochs = f"{link.name}-{step + 1}", settings.epochs_between
    before = previous.folder if step else None
    extra = [c.at(step, before) if isinstance(c, Change) else c for c in _callbacks(link)]
    module = experiment.module(_fresh(previous), teacher if settings.distil else None, link.cfg)
    spec = experiment.fitted[link.start].spec
    return fit(link.cfg, experiment.data, experiment.folder / name, module, epochs, spec, extra)


def _quantize(experiment: Experiment, link: Link) -> TrainedModel:
    """Quantize a trained network with no further training."""
    start, folder = experiment.fitted[link.start], experiment.folder / link.name
    fitted = TrainedModel(start.network, folder, 0, spec=start.spec)
    if experiment.cfg.resume and collectives.broadcast(fitted.file.is_file()):
        network, artifact = load_artifact(fitted.file)
        return TrainedModel(network, folder, 0, spec=artifact.spec)
    assert start.spec is not None
    began, quantizer = time.perf_counter(), instantiate(link.settings.quantize)
    fitted.spec = start.spec.then(quantizer.describe())
    about = Artifact(
        fitted.spec,
        facts(experiment.data, experiment.task),
        source(experiment.cfg, experiment.data, folder),
    )
    with collectives.first_goes_ahead() as first:  # each would have calibrated on images of its own
        if first:
            batches = first_batches(experiment.data, quantizer.n_batches)
            fitted.network = quantizer(_fresh(start), batches)
            save_artifact(fitted.file, fitted.network, about)
        else:
            fitted.network, _ = load_artifact(fitted.file)
    fitted.seconds = time.perf_counter() - began
    return fitted


def _fresh(start: TrainedModel) -> nn.Module:
    """Return a copy of a finished network that can be trained."""
    return copy_network(start.network).cpu().train().requires_grad_(True)
