"""Rank and world size from the environment, and the hand-off of errors to the launcher."""

import json
import os
import signal
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from potstill.errors import ConfigError

ORPHANED = 3.0  # seconds to save and end, once the process that started this one is gone
FOLDER = "POTSTILL_LAUNCH"  # where a process that `launch` started leaves its error and result


def rank() -> int:
    """Return this process's number among those that were started together, 0 where it is alone."""
    return int(os.environ.get("RANK") or os.environ.get("SLURM_PROCID") or 0)


def world() -> int:
    """Return how many processes were started together: here, by torchrun or by SLURM."""
    return int(os.environ.get("WORLD_SIZE") or os.environ.get("SLURM_NTASKS") or 1)


def is_started() -> bool:
    """Return whether `start` of another process has started this one."""
    return FOLDER in os.environ


def overrides(given: Sequence[str], is_sweep: bool) -> list[str]:
    """Return what this process adds to its command, so that no two write one file.

    Args:
        given: the command's own overrides.
        is_sweep: whether it is a sweep.

    Raises:
        ConfigError: if each process would choose a folder, or settings, of its own.
    """
    if world() == 1:
        return []
    if is_sweep:
        raise ConfigError(
            f"-m: each of {world()} processes would sweep by itself. "
            "Fix: without torchrun or srun; trainer.devices starts them for every job"
        )
    if not any(line.startswith("hydra.run.dir=") for line in given):
        raise ConfigError(
            f"hydra.run.dir: each of {world()} processes would make its own. "
            "Fix: hydra.run.dir=FOLDER, the same for all"
        )
    own = [f"hydra.job.name=train-{rank()}"] if rank() else []
    return [*own, "hydra.output_subdir=null"] if rank() or is_started() else []


def leave_error(line: str, exit_code: int) -> bool:
    """Give the starting process the line to print, the first of all; False without such a one."""
    if not is_started():
        return False
    folder = Path(os.environ[FOLDER])
    mine = folder / f"error-{rank()}.json"
    # What follows from the first error, such as a lost connection, is not worth a line.
    with suppress(OSError):
        mine.write_text(json.dumps({"line": line, "exit_code": exit_code}))
        os.link(mine, folder / "error.json")
    return True


def leave_result(value: Any) -> None:
    """Give the starting process what the run returns."""
    if is_started() and rank() == 0:
        (Path(os.environ[FOLDER]) / "result.json").write_text(json.dumps(value))


def end_with_parent() -> None:
    """Let this process get SIGTERM once the one that started it is gone, by SIGKILL even.

    `ORPHANED` seconds later it is killed with its data workers: one that waits for another in a
    collective call does not see a signal.
    """

    def watch() -> None:
        os.read(0, 1)  # returns when the other end of the pipe closes
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(ORPHANED)
        # Its group is its own, as the launcher started it.
        if os.getpgrp() == os.getpid():
            os.killpg(0, signal.SIGKILL)
        os.kill(os.getpid(), signal.SIGKILL)

    if is_started():
        threading.Thread(target=watch, daemon=True).start()
