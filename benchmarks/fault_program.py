"""The training program with a fault in one of its phases, named in the environment.

`FAULT=PHASE:die:RANK`: as the phase begins, the process of that rank is killed. With
`FAULT=PHASE:disk:BYTES` no file may be larger from then on. The file `FAULT_MARK` tells when that
was, by the wall clock.
"""

import importlib
import os
import resource
import signal
import sys
import time
from pathlib import Path
from typing import Any

# Where a phase begins: a function that every run calls in it, and at which call.
PHASES = {
    "data": ("potstill.data.datamodule", "ImageData.setup", 1),
    "teacher": ("potstill.training.module", "DistillationModule.training_step", 2),
    "checkpoint": ("potstill.training.callbacks.checkpoint", "Checkpoint._write", 2),
    "training": ("potstill.training.module", "DistillationModule.training_step", 9),
    "pruning": ("potstill.pipeline.stages.prune_channels", "PruneChannels.apply", 3),
    "report": ("potstill.pipeline.run", "report", 1),
    "export": ("potstill.pipeline.run", "_export", 1),
}


def fault(kind: str, number: int) -> None:
    """Let this process be killed if it has that rank, or meet a full disk whatever its rank."""
    if kind == "die" and int(os.environ.get("RANK", "0")) != number:
        return
    Path(os.environ["FAULT_MARK"]).write_text(str(time.time()))
    if kind == "die":
        os.kill(os.getpid(), signal.SIGKILL)
    _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (number, hard))


def install(phase: str, kind: str, number: int) -> None:
    """Let a phase begin with the fault."""
    module, path, nth = PHASES[phase]
    place: Any = importlib.import_module(module)
    *outer, name = path.split(".")
    for part in outer:
        place = getattr(place, part)
    real, calls = getattr(place, name), 0

    def call(*args: Any, **kwargs: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == nth:
            fault(kind, number)
        return real(*args, **kwargs)

    setattr(place, name, call)


if __name__ == "__main__":
    from potstill.cli.entry import main

    if given := os.environ.get("FAULT"):
        phase, kind, number = given.split(":")
        # The one that starts the others does not import torch, which takes seconds to leave.
        if kind != "die" or "RANK" in os.environ:
            install(phase, kind, int(number))
    sys.exit(main())
