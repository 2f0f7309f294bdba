"""One run: a teacher, a student distilled from it, the same student alone, and a report."""

from contextlib import nullcontext
from pathlib import Path

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf

from potstill.atomic import write_atomically
from potstill.config.names import OURS, by_name
from potstill.distributed import collectives
from potstill.distributed.environment import rank
from potstill.errors import ConfigError
from potstill.libraries import quiet
from potstill.pipeline.context import RunContext, begin
from potstill.pipeline.evaluate import report
from potstill.pipeline.experiment import Experiment
from potstill.pipeline.export import export, exporters
from potstill.pipeline.rehearsal import rehearse
from potstill.pipeline.stage_runner import run_stage
from potstill.pipeline.summary import describe
from potstill.report.budget import Budget
from potstill.report.page import write_page
from potstill.training.checkpoints.identity import (
    Identity,
    compare,
    environment,
    held,
    identity,
    load_identity,
    save_identity,
)
from potstill.training.loggers.wandb import finish


def run(cfg: DictConfig) -> float:
    """Run the config and return the student's main score on validation."""
    quiet()
    folder = Path(HydraConfig.get().runtime.output_dir)
    # By one process: the others are of the same run.
    with held(folder) if rank() == 0 else nullcontext():
        context = begin(cfg, folder)
        known = _identify(context)
        Budget.of(context.cfg.budget)  # or its mistakes would show after training
        exporters(context.cfg, context.task)  # a library that is missing is missed now
        experiment = Experiment(context)
        rehearse(experiment)
        if collectives.is_first():
            save_identity(folder, known)
            text = OmegaConf.to_yaml(context.node, resolve=True)
            write_atomically(folder / "config.yaml", text)
        context.console.print(describe(context))
        try:
            _train(experiment)
            score = experiment.score_on_validation(experiment.fitted["student"].network)
            report(experiment)
            _export(experiment)
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
    if experiment.run.cfg.baseline and experiment.distils:
        experiment.train("baseline", None)
    for stage in experiment.run.stages:
        run_stage(experiment, stage, teacher)


def _export(experiment: Experiment) -> None:
    """Write the files of the other formats, and the page again: it shows them."""
    if experiment.run.cfg.export and collectives.is_first():
        try:
            export(experiment)
        finally:  # those that were written are on the page
            write_page(experiment.run.folder)


def _identify(context: RunContext) -> Identity:
    """Return what run this is; raise if the folder's run, which is to go on, is another."""
    facts = {"data_fingerprint": context.data.fingerprint, **environment()}
    new = identity(by_name(context.settings), facts)
    old = load_identity(context.folder) if context.cfg.resume else None
    if old is not None:
        _check_version(old, context.folder)
        compare(old, new, context.cfg.resume_allow)
    return new


def _check_version(old: Identity, folder: Path) -> None:
    """Raise where a run was begun when settings named modules, whose checkpoints do so too."""
    if str(old.get("module._target_", "")).startswith(OURS):
        raise ConfigError(
            f"resume=true: the run in {folder} was begun by an older potstill, whose modules had "
            "other names. Fix: begin again in another hydra.run.dir; its kept teacher is used"
        )
