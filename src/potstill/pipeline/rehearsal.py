"""Rehearsal of a run: everything is built and nothing trained, so that mistakes show early."""

from pathlib import Path
from typing import Any

import lightning.pytorch as pl
from torch import nn

from potstill.config.instantiate import instantiate
from potstill.config.stage_settings import StageConfig
from potstill.errors import ConfigError
from potstill.measure.counts import is_quantized
from potstill.models.copies import copy_network
from potstill.pipeline.context import RunContext
from potstill.pipeline.experiment import Experiment, is_trained, spec_of
from potstill.pipeline.fit import choose_kernels
from potstill.pipeline.stage_runner import apply_stages, make_stages
from potstill.pipeline.stages.base import Stage
from potstill.pipeline.stages.callback import use_training_step
from potstill.pipeline.stages.context import StageContext
from potstill.pipeline.teacher_cache import check_teacher_cache
from potstill.pipeline.validation_rules import check_step, check_validation
from potstill.teacher.registry import check_classes
from potstill.training import schedules
from potstill.training.module import DistillationModule
from potstill.training.steps import check_averaging


def rehearse(experiment: Experiment) -> None:
    """Build the networks of a run and take them through its stages, untrained.

    Raises:
        ConfigError: if something of the config is impossible.
        DataError: if a teacher's file is of other classes.
    """
    module, teacher = rehearse_distillation(experiment)
    if experiment.run.stages:
        _check_student(experiment, module)
    networks = {"student": module.student}
    for config in experiment.run.stages:
        start = networks[config.start]
        if is_quantized(start):
            raise ConfigError(
                f"stages.{config.name}.start={config.start}: is quantized by then, and trains no "
                "further. Fix: the row before it was quantized"
            )
        networks[config.name] = _rehearse_stage(experiment, config, copy_network(start), teacher)


def rehearse_distillation(experiment: Experiment) -> tuple[DistillationModule, nn.Module | None]:
    """Build student, teacher and heads; return the module trained first, and the teacher."""
    run = experiment.run
    experiment.seed()
    teacher = experiment.network("teacher") if experiment.distils else None
    weights = Path(run.cfg.module.teacher.get("weights") or "") if experiment.distils else Path()
    if weights.is_file():
        check_classes(weights, run.data.class_names)
    module = experiment.module(experiment.network("student"), teacher)
    module.prepare(run.data.train_targets)
    _check_labels(run, module)
    schedules.rehearse(module.scheduler, "trainer.max_epochs", run.cfg.trainer.max_epochs)
    if teacher is not None:
        check_teacher_cache(run, module)
        if not is_trained(run.cfg.module.teacher):
            schedules.rehearse(module.scheduler, "teacher.epochs", run.cfg.teacher.epochs)
    callbacks = _callbacks(run.cfg.callbacks)
    choose_kernels(run, module, run.cfg.trainer.max_epochs, callbacks)
    trains_teacher = teacher is not None and not is_trained(run.cfg.module.teacher)
    check_validation(run, module, trains_teacher or run.cfg.baseline)
    return module, teacher


def _check_labels(run: RunContext, module: DistillationModule) -> None:
    """Raise where a head reads labels that are not to be seen."""
    for name, head in module.heads.items():
        if run.data.labelled is not None and getattr(head, "needs_labels", False):
            raise ConfigError(
                f"module.heads.{name}: needs the label of every image, and "
                f"data.labels_per_class={run.data.labels_per_class} hides most. "
                "Fix: heads that need none, such as kd, or data.labels_per_class=null"
            )


def _callbacks(nodes: Any) -> list[pl.Callback]:
    """Return callbacks of the config.

    Raises:
        ConfigError: if one of them would do wrong.
    """
    found = [instantiate(node) for node in (nodes or {}).values() if node is not None]
    check_averaging(found)
    return found


def _check_student(experiment: Experiment, module: DistillationModule) -> None:
    first = f"stages.{experiment.run.stages[0].name}"
    if module.export_student() is not module.student:
        raise ConfigError(
            f"{first}: the student keeps layers of a head, which no stage can change. "
            "Fix: without the head simkd, or stages={}"
        )
    node = experiment.run.cfg.module.student
    if spec_of(node, module.student) is None:
        raise ConfigError(
            f"{first}: no name for {node._target_}, so its pruned network could not be built "
            "again. Fix: a builder of potstill.models, or a plugin's"
        )


def _rehearse_stage(
    experiment: Experiment, config: StageConfig, network: nn.Module, teacher: nn.Module | None
) -> nn.Module:
    """Return the network that a stage would leave, with weights that mean nothing."""
    stages, settings = make_stages(config), config.settings
    steps = max((stage.steps for stage in stages), default=1)
    context = StageContext(experiment.run.data.image_shape, step=steps - 1, dry_run=True)
    network = apply_stages(stages, network, context)
    if settings.epochs:
        _rehearse_training(experiment, config, stages, copy_network(network), teacher)
    for stage in stages:
        network = stage.finalize(network)
    return network


def _rehearse_training(
    experiment: Experiment,
    config: StageConfig,
    stages: list[Stage],
    network: nn.Module,
    teacher: nn.Module | None,
) -> None:
    run, settings, path = experiment.run, config.settings, f"stages.{config.name}"
    _callbacks(config.callbacks)
    module = experiment.module(network, teacher if config.distils else None, run.of_stage(config))
    use_training_step(module, stages)
    module.prepare(run.data.train_targets)
    schedules.rehearse(module.scheduler, f"{path}.epochs", settings.epochs)
    if any(stage.steps > 1 for stage in stages):
        check_step(run.of_stage(config), config)
        between = f"{path}.epochs_between", settings.epochs_between
        schedules.rehearse(module.scheduler, *between)
