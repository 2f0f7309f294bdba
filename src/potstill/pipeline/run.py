"""One command: a teacher, a student distilled from it, the same student alone, and a report."""

from contextlib import nullcontext
from pathlib import Path
from typing import Any

import torch
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf
from rich.console import Console

from potstill.atomic import write_atomically
from potstill.config.instantiate import instantiate
from potstill.distributed import collectives
from potstill.distributed.consistency import check_same
from potstill.distributed.environment import rank
from potstill.distributed.strategy import join
from potstill.libraries import quiet
from potstill.pipeline import stage_runner
from potstill.pipeline.evaluate import report
from potstill.pipeline.experiment import Experiment
from potstill.pipeline.export import export, exporters
from potstill.pipeline.summary import describe
from potstill.report.budget import Budget
from potstill.report.page import write_page
from potstill.training.checkpoints.identity import (
    compare,
    environment,
    held,
    identity,
    load_identity,
    save_identity,
)
from potstill.training.loggers.wandb import finish
from potstill.training.precision import settle_precision
from potstill.training.trainer import make_trainer


def run(cfg: DictConfig) -> float:
    """Do what the config says and return the student's main score on validation."""
    quiet()
    folder = Path(HydraConfig.get().runtime.output_dir)
    # By one process: the others are of the same run.
    with held(folder) if rank() == 0 else nullcontext():
        return _run(cfg, folder)


def _run(cfg: DictConfig, folder: Path) -> float:
    trainer = make_trainer(cfg, None, 1)
    join(trainer)
    cfg = settle_precision(cfg, trainer.strategy.root_device)
    check_same(OmegaConf.to_container(cfg, resolve=True))  # type: ignore[arg-type]
    console = Console(quiet=not collectives.is_first())
    if cfg.threads:
        torch.set_num_threads(cfg.threads)
    data = instantiate(cfg.data)
    with collectives.first_goes_ahead():
        data.prepare_data()
    data.setup("fit")
    known = _identify(cfg, data, folder)
    Budget.of(cfg.budget)  # or its mistakes would show after training
    experiment = Experiment(cfg, data, folder, console)
    exporters(cfg, experiment.task)  # a library that is missing is missed now
    stage_runner.rehearse(experiment, *experiment.rehearse())
    if collectives.is_first():
        save_identity(folder, known)
        write_atomically(folder / "config.yaml", OmegaConf.to_yaml(cfg, resolve=True))
    console.print(describe(cfg, data, folder))
    try:
        _train(experiment)
        score = experiment.score_on_validation(experiment.fitted["student"].network)
        report(experiment)
        if cfg.export and collectives.is_first():
            try:
                export(experiment)
            finally:  # those that were written are on the page
                write_page(experiment.folder)
    finally:
        for fitted in experiment.fitted.values():
            finish(fitted.loggers)
    return score


def _train(experiment: Experiment) -> None:
    """Train or read everything: teacher, student, baseline, and the stages after them."""
    teacher = experiment.teacher() if experiment.distils else None
    if teacher is not None:
        experiment.meet(teacher)
    experiment.train("student", teacher)
    if experiment.cfg.baseline and experiment.distils:
        experiment.train("baseline", None)
    for link in experiment.links:
        stage_runner.run_stage(experiment, link, teacher)


def _identify(cfg: DictConfig, data: Any, folder: Path) -> dict[str, Any]:
    """Return what run this is; raise if the folder's run, which is to go on, is another."""
    settings: Any = OmegaConf.to_container(cfg, resolve=True)
    new = identity(settings, {"data_fingerprint": data.fingerprint, **environment()})
    old = load_identity(folder) if cfg.resume else None
    if old is not None:
        compare(old, new, cfg.resume_allow)
    return new
