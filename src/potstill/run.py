"""One command: a teacher, a student distilled from it, the same student alone, and a report."""

from pathlib import Path

import torch
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf
from rich.console import Console

from potstill.check import instantiate
from potstill.files import write_atomically
from potstill.loggers import finish
from potstill.quiet import quiet
from potstill.results import report
from potstill.study import Study
from potstill.summary import describe


def run(cfg: DictConfig) -> float:
    """Do what the config says and return the student's accuracy on validation."""
    quiet()
    console = Console()
    folder = Path(HydraConfig.get().runtime.output_dir)
    if cfg.threads:
        torch.set_num_threads(cfg.threads)
    data = instantiate(cfg.data)
    data.prepare_data()
    data.setup("fit")
    study = Study(cfg, data, folder, console)
    study.rehearse()
    write_atomically(folder / "config.yaml", OmegaConf.to_yaml(cfg, resolve=True))
    console.print(describe(cfg, data, folder))
    try:
        teacher = study.teacher() if study.distils else None
        study.train("student", teacher)
        if cfg.baseline and study.distils:
            study.train("baseline", None)
        accuracy = study.accuracy_on_validation(study.fitted["student"].network)
        report(study)
    finally:
        for fitted in study.fitted.values():
            finish(fitted.loggers)
    return accuracy
