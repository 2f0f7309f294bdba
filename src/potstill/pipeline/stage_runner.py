"""Stages after distillation: each changes a network, trains it and saves it."""

import shutil
import time
from collections.abc import Sequence
from functools import partial
from inspect import signature
from pathlib import Path

from torch import nn

from potstill.atomic import write_atomically
from potstill.config.full_keys import with_full_key
from potstill.config.instantiate import instantiate
from potstill.config.stage_settings import StageConfig
from potstill.data.loaders.calibration import first_batches
from potstill.distributed import collectives
from potstill.errors import ConfigError
from potstill.models.copies import copy_network
from potstill.pipeline.experiment import Experiment
from potstill.pipeline.fit import fit
from potstill.pipeline.stages.base import Stage
from potstill.pipeline.stages.callback import use_training_step
from potstill.pipeline.stages.context import StageContext
from potstill.pipeline.trained_model import TrainedModel, is_finished, keep, read_finished
from potstill.training.loggers.wandb import finish


def make_stages(config: StageConfig) -> list[Stage]:
    """Return what a stage of the config does to its network, in order."""
    made: list[Stage] = []
    for name, node in config.transforms.items():
        stage = instantiate(node)
        stage.key = f"stages.{config.name}.transforms.{name}"
        made.append(stage)
    return made


def apply_stages(stages: Sequence[Stage], network: nn.Module, context: StageContext) -> nn.Module:
    """Return the network after every stage was applied to it, one after another.

    Raises:
        ConfigError: if one cannot be, with the full key of the setting.
    """
    for stage in stages:
        try:
            network = stage.apply(network, context)
        except ConfigError as error:
            if not stage.key:
                raise
            raise with_full_key(error, stage.key, signature(type(stage)).parameters) from error
    return network


def run_stage(experiment: Experiment, config: StageConfig, teacher: nn.Module | None) -> None:
    """Do one stage, or read what an earlier attempt of the run left of it.

    Each step but the last has a folder of its own, `NAME-1`, `NAME-2` ...; so has the last where
    only its fit shows that it was.
    """
    run, name, settings = experiment.run, config.name, config.settings
    if is_finished(run, run.folder / name):
        experiment.fitted[name] = read_finished(run.folder / name, settings.epochs)
        return
    stages = make_stages(config)
    last = max((stage.steps for stage in stages), default=1) - 1
    is_open = any(stage.has_own("one_more") for stage in stages)
    trained, step, goes_on = experiment.fitted[config.start], 0, True
    while goes_on:
        is_last = step >= last
        folder = run.folder / (name if is_last and not is_open else f"{name}-{step + 1}")
        context = _context(experiment, folder, step, trained.folder if step else None)
        trained = _do_step(experiment, config, stages, trained, teacher, context, is_last)
        finish(trained.loggers)
        goes_on = not is_last or (is_open and _one_more(stages, trained.network, context))
        step += 1
    experiment.fitted[name] = _publish(experiment, name, trained) if is_open else trained


def _do_step(
    experiment: Experiment,
    config: StageConfig,
    stages: Sequence[Stage],
    start: TrainedModel,
    teacher: nn.Module | None,
    context: StageContext,
    is_last: bool,
) -> TrainedModel:
    """Apply a stage to a network, train it where it trains, and keep it."""
    run, settings = experiment.run.of_stage(config), config.settings
    assert context.folder is not None
    epochs = settings.epochs if is_last else settings.epochs_between
    if is_finished(run, context.folder):
        return read_finished(context.folder, epochs)
    experiment.seed()
    began, spec = time.perf_counter(), experiment.fitted[config.start].spec
    if not settings.epochs:
        network = apply_stages(stages, fresh(start), context)
        kept = keep(run, context.folder, network, spec, stages)
        kept.seconds = time.perf_counter() - began
        return kept
    module = experiment.module(fresh(start), teacher if config.distils else None, run)
    module.replace_student(apply_stages(stages, module.student, context))
    use_training_step(module, stages)
    callbacks = [callback for stage in stages for callback in stage.callbacks()]
    callbacks += [instantiate(node) for node in config.callbacks.values()]
    return fit(run, context.folder, module, epochs, spec, stages, callbacks)


def fresh(start: TrainedModel) -> nn.Module:
    """Return a copy of a finished network that can be trained."""
    return copy_network(start.network).cpu().train().requires_grad_(True)


def _context(
    experiment: Experiment, folder: Path, step: int, previous: Path | None
) -> StageContext:
    run = experiment.run
    return StageContext(
        image_shape=run.data.image_shape,
        step=step,
        folder=folder,
        previous=previous,
        task_loss=run.task.loss,
        training_batches=partial(first_batches, run.data),
        validate=experiment.points_on_validation,
        device=run.device,
        say=run.console.print,
    )


def _one_more(stages: Sequence[Stage], network: nn.Module, context: StageContext) -> bool:
    """Return whether a stage wants another step, as it decided in an earlier attempt if it did."""
    found = context.decided(
        "one_more.json",
        lambda: {"one_more": any(stage.one_more(network, context) for stage in stages)},
    )
    return bool(found["one_more"])


def _publish(experiment: Experiment, name: str, trained: TrainedModel) -> TrainedModel:
    """Keep what the last step left as the stage's own, with its metrics."""
    folder = experiment.run.folder / name
    if collectives.is_first():
        folder.mkdir(exist_ok=True)
        for file in trained.metrics:
            shutil.copy(file, folder / file.name)
        write_atomically(folder / f"{name}.safetensors", trained.file.read_bytes())
    collectives.barrier()
    return TrainedModel(trained.network, folder, trained.epochs, trained.seconds, spec=trained.spec)
