"""One job of a command, a run or one of a sweep, in as many processes as its config names."""

import functools
import os
import re
import sys
from collections.abc import Callable
from typing import Any

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

from potstill.config.compose import Command
from potstill.config.quoting import override
from potstill.distributed import environment, launcher


def in_processes(run: Callable[[DictConfig], Any], command: Command) -> Callable[[Any], Any]:
    """Return `run` made to start its config's number of processes, where nothing else has.

    Each is this program with the job's own overrides, so that a sweep's sampler draws once.
    """
    program, folder = os.path.abspath(sys.argv[0]), os.getcwd()

    @functools.wraps(run)
    def task(cfg: DictConfig) -> Any:
        number = 1 if environment.world() > 1 else launcher.count(cfg.get("trainer") or {})
        if number > 1:
            line = [sys.executable, program, *command.flags, *_job(HydraConfig.get())]
            return launcher.start(line, number, folder)
        result = run(cfg)
        environment.leave_result(result)
        return result

    return task


def _job(hydra: Any) -> list[str]:
    """Return the overrides of one job, a sweep's values in place of its lists."""
    of_sweeps = ("mode", "run", "sweep", "sweeper", "launcher")
    own = [o for o in hydra.overrides.hydra if re.split("[./=]", o, maxsplit=2)[1] not in of_sweeps]
    place = override("hydra.run.dir", hydra.runtime.output_dir)
    return [*hydra.overrides.task, *own, "hydra.mode=RUN", place]
