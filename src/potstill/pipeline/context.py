"""Surroundings of a run, made once: settings, device, data, task, folder, console and stages."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

import torch
from omegaconf import DictConfig, OmegaConf
from rich.console import Console

from potstill.config.instantiate import instantiate
from potstill.config.schema import Config
from potstill.config.stage_settings import StageConfig, parse_stages
from potstill.data.datamodule import ImageData
from potstill.distributed import collectives
from potstill.distributed.consistency import check_same
from potstill.distributed.strategy import join
from potstill.tasks.base import Task, check_task
from potstill.training.precision import settle_precision
from potstill.training.trainer import make_trainer


@dataclass(frozen=True)
class RunContext:
    """What every part of a run is given.

    Attributes:
        cfg: the settings, of the run or of one of its stages; a `DictConfig` of that shape, its
            precision settled for the device.
        device: where networks are trained and tested.
        data: after its setup.
        task: what the networks' outputs mean.
        folder: of the run.
        console: of the first process; the others' is silent.
        stages: after distillation, in order.
    """

    cfg: Config
    device: torch.device
    data: ImageData
    task: Task
    folder: Path
    console: Console
    stages: tuple[StageConfig, ...]

    @property
    def precision(self) -> str:
        """The Trainer's precision."""
        return str(self.cfg.trainer.get("precision"))

    @property
    def node(self) -> DictConfig:
        """The settings as Lightning and OmegaConf are given them."""
        return cast("DictConfig", self.cfg)

    @property
    def settings(self) -> dict[str, Any]:
        """Everything in the config, resolved, as plain values."""
        return cast("dict[str, Any]", OmegaConf.to_container(self.node, resolve=True))

    def of_stage(self, stage: StageConfig) -> "RunContext":
        """Return the same with what differs in a stage."""
        return replace(self, cfg=cast("Config", stage.cfg))

    def with_seed(self, seed: int | None) -> "RunContext":
        """Return the same with another seed, and its data; None changes nothing."""
        if seed is None or seed == self.cfg.seed:
            return self
        cfg = self.node.copy()
        cfg.seed = seed
        data: ImageData = instantiate(cfg.data)
        data.setup("fit")
        return replace(self, cfg=cast("Config", cfg), data=data)


def begin(cfg: DictConfig, folder: Path, console: Console | None = None) -> RunContext:
    """Return the context of a run, after its processes have met and its data is there.

    Raises:
        ConfigError: if the settings make no Trainer, or processes differ in them.
    """
    trainer = make_trainer(cfg, None, 1)  # of no fit: it meets the processes, and has the device
    join(trainer)
    device = trainer.strategy.root_device
    settled = settle_precision(cfg, device)
    check_same(OmegaConf.to_container(settled, resolve=True))  # type: ignore[arg-type]
    if settled.threads:
        torch.set_num_threads(settled.threads)
    data: ImageData = instantiate(settled.data)
    with collectives.first_goes_ahead():
        data.prepare_data()
    data.setup("fit")
    return RunContext(
        cast("Config", settled),
        device,
        data,
        make_task(settled, data),
        folder,
        console or Console(quiet=not collectives.is_first()),
        tuple(parse_stages(settled)),
    )


def make_task(cfg: DictConfig, data: ImageData) -> Task:
    """Return the task of a run.

    Raises:
        ConfigError: if it is none, or the data or a setting does not go with it.
    """
    task = check_task(instantiate(cfg.task))
    task.check_data(data)
    task.scoring.need_accuracy("teacher.accuracy", cfg.teacher.accuracy)
    task.scoring.need_accuracy("budget.accuracy_drop", (cfg.budget or {}).get("accuracy_drop"))
    return task
