"""What follows distillation: each stage changes a network, trains it on, and keeps it."""

import copy
import time
from typing import Any

import torch
from torch import nn

from potstill.artifact.file import Artifact, load_artifact, save_artifact
from potstill.artifact.metadata import facts, source
from potstill.artifact.spec import BUILDERS
from potstill.config.stage_settings import Link
from potstill.config.validate import instantiate
from potstill.data.loaders.calibration import first_batches
from potstill.distributed import collectives
from potstill.errors import ConfigError
from potstill.pipeline.experiment import Study, recipe_of
from potstill.pipeline.fit import Fitted, fit
from potstill.pipeline.stages.base import Change
from potstill.training import schedules
from potstill.training.loggers.wandb import finish
from potstill.training.module import DistillationModule


def rehearse(study: Study, module: DistillationModule, teacher: nn.Module | None) -> None:
    """Take every stage's network through its changes, untrained, and bind its heads.

    Raises:
        ConfigError: if a stage cannot do what it is asked to.
    """
    if study.links:
        _check_recipe(study, module)
    networks: dict[str, nn.Module | None] = {"student": module.student}  # None: in integers
    for link in study.links:
        start = networks[link.start]
        if start is None:
            raise ConfigError(
                f"stages.{link.name}.start={link.start}: is in integers by then, which do not "
                "train. Fix: the row before it was quantized"
            )
        networks[link.name] = _rehearse_stage(study, link, copy.deepcopy(start), teacher)


def _check_recipe(study: Study, module: DistillationModule) -> None:
    first = f"stages.{study.links[0].name}"
    if module.export_student() is not module.student:
        raise ConfigError(
            f"{first}: the student keeps layers of a head, which no stage can change. "
            "Fix: without the head simkd, or stages={}"
        )
    if recipe_of(study.cfg.module.student) is None:
        raise ConfigError(
            f"{first}: no recipe for {study.cfg.module.student._target_}, so its pruned network "
            f"could not be built again. Fix: a builder under {BUILDERS[:-1]}"
        )


def _rehearse_stage(
    study: Study, link: Link, network: nn.Module, teacher: nn.Module | None
) -> nn.Module | None:
    shape = study.data.image_shape
    if link.settings.quantize is not None:
        instantiate(link.settings.quantize)(network, [torch.zeros(2, *shape)])
        return None
    changes = [c for c in _callbacks(link) if isinstance(c, Change)]
    for change in changes:
        network = change.at(change.steps - 1).rehearse(network, shape)
    distils = link.settings.distil
    module = study.module(copy.deepcopy(network), teacher if distils else None, link.cfg)
    module.prepare(study.data.train_targets)
    schedules.rehearse(module.scheduler, f"stages.{link.name}.epochs", link.settings.epochs)
    if any(change.steps > 1 for change in changes):
        between = f"stages.{link.name}.epochs_between", link.settings.epochs_between
        schedules.rehearse(module.scheduler, *between)
    return None if any(change.to_integers for change in changes) else network


def _callbacks(link: Link) -> list[Any]:
    return [instantiate(node) for node in link.callbacks.values()]


def run_stage(study: Study, link: Link, teacher: nn.Module | None) -> None:
    """Do one stage, or read what an earlier attempt of the run left of it."""
    if link.settings.quantize is not None:
        study.fitted[link.name] = _quantize(study, link)
        return
    last = max((c.steps for c in _callbacks(link) if isinstance(c, Change)), default=1) - 1
    previous = study.fitted[link.start]
    for step in range(last + 1):
        fitted = _train(study, link, previous, teacher, step, last)
        finish(fitted.loggers)
        previous = fitted
    study.fitted[link.name] = previous


def _train(
    study: Study, link: Link, previous: Fitted, teacher: nn.Module | None, step: int, last: int
) -> Fitted:
    """Train one step of a stage; each but the last has a folder of its own, NAME-1, NAME-2 ..."""
    study.seed()
    settings = link.settings
    name, epochs = link.name, settings.epochs
    if step < last:
        name, epochs = f"{link.name}-{step + 1}", settings.epochs_between
    before = previous.folder if step else None
    extra = [c.at(step, before) if isinstance(c, Change) else c for c in _callbacks(link)]
    module = study.module(_fresh(previous), teacher if settings.distil else None, link.cfg)
    recipe = study.fitted[link.start].recipe
    return fit(link.cfg, study.data, study.folder / name, module, epochs, recipe, extra)


def _quantize(study: Study, link: Link) -> Fitted:
    """Quantize a trained network with no further training."""
    start, folder = study.fitted[link.start], study.folder / link.name
    fitted = Fitted(start.network, folder, 0, recipe=start.recipe)
    if study.cfg.resume and collectives.broadcast(fitted.file.is_file()):
        network, artifact = load_artifact(fitted.file)
        return Fitted(network, folder, 0, recipe=artifact.recipe)
    assert start.recipe is not None
    began, quantizer = time.perf_counter(), instantiate(link.settings.quantize)
    fitted.recipe = quantizer.amend(start.recipe)
    about = Artifact(fitted.recipe, facts(study.data), source(study.cfg, study.data, folder))
    with collectives.first_goes_ahead() as first:  # each would have calibrated on images of its own
        if first:
            batches = first_batches(study.data, quantizer.n_batches)
            fitted.network = quantizer(_fresh(start), batches)
            save_artifact(fitted.file, fitted.network, about)
        else:
            fitted.network, _ = load_artifact(fitted.file)
    fitted.seconds = time.perf_counter() - began
    return fitted


def _fresh(start: Fitted) -> nn.Module:
    """Return a copy of a finished network that can be trained."""
    return copy.deepcopy(start.network).cpu().train().requires_grad_(True)
