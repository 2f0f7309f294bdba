"""Launcher of a command in several local processes: started, watched, ended together.

torch's elastic agent is for processes that are restarted and move between machines. It would end
one that is saving after a signal as fast as one whose peer has died, and exit with a code of its
own.
"""

import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from potstill.distributed.environment import FOLDER
from potstill.errors import ConfigError, PotstillError

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)
GRACE = 2.0  # seconds for the others to end by themselves, once one has failed
SAVING = 8.0  # the same after a signal, whose first line says that a checkpoint was written
POLL = 0.05


class ProcessFailed(PotstillError):
    """One of a command's processes failed: its line, and the exit code it had."""

    def __init__(self, line: str, exit_code: int) -> None:
        self.exit_code = exit_code
        super().__init__(line)


def count(trainer: Mapping[str, Any]) -> int:
    """Return how many processes of this machine a config's `trainer` wants.

    Raises:
        ConfigError: if it wants several machines: this process can only use its own.
    """
    if (trainer.get("num_nodes") or 1) > 1:
        raise ConfigError(
            f"trainer.num_nodes={trainer['num_nodes']}: this is one machine. "
            "Fix: start it with torchrun or srun on each"
        )
    devices = trainer.get("devices")
    if isinstance(devices, str) and "," in devices:
        devices = devices.strip(",").split(",")
    if isinstance(devices, Sequence) and not isinstance(devices, str):
        return max(len(devices), 1)
    if devices in (None, "auto", -1, "-1"):
        return _all_devices(trainer.get("accelerator", "auto"))
    return max(int(devices), 1) if str(devices).isdecimal() else 1  # the Trainer will refuse it


def _all_devices(accelerator: str) -> int:
    if accelerator not in ("auto", "gpu", "cuda"):
        return 1
    import torch  # takes seconds, which only this setting costs

    return max(torch.cuda.device_count(), 1)


def start(command: Sequence[str], number: int, cwd: str | Path | None = None) -> Any:
    """Run `command` in `number` processes that form a group; return the result of the first.

    SIGINT, SIGTERM and SIGUSR1 go on to all of them. Once one has failed the others have `GRACE`
    seconds to end, `SAVING` after a signal; then they are killed.

    Raises:
        ProcessFailed: with line and exit code of the process that failed first.
    """
    with tempfile.TemporaryDirectory(prefix="potstill-") as name:
        ranks = _Ranks(Path(name), number)
        with ranks.getting_signals():
            ranks.start(command, cwd)
            ranks.wait()
        if failure := ranks.failure():
            raise failure
        result = Path(name) / "result.json"
        return json.loads(result.read_text()) if result.is_file() else None


class _Ranks:
    """The processes of one command, by rank."""

    def __init__(self, folder: Path, number: int) -> None:
        self.folder, self.number = folder, number
        self.processes: list[subprocess.Popen[bytes]] = []
        self.killed: set[int] = set()  # by us
        self.signal: int | None = None

    def start(self, command: Sequence[str], cwd: str | Path | None) -> None:
        common = _environment(self.folder, self.number)
        for rank in range(self.number):
            environment = common | {"RANK": str(rank), "LOCAL_RANK": str(rank)}
            # A session of its own: Ctrl-C at a terminal must not come twice, and a kill must
            # take the data workers along. The pipe is for `end_with_parent`.
            self.processes.append(
                subprocess.Popen(
                    command, env=environment, cwd=cwd, stdin=subprocess.PIPE, start_new_session=True
                )
            )

    @contextmanager
    def getting_signals(self) -> Iterator[None]:
        before = {number: signal.signal(number, self._forward) for number in SIGNALS}
        try:
            yield
        finally:
            self._kill()
            for process in self.processes:
                assert process.stdin is not None
                process.stdin.close()
            for number, handler in before.items():
                signal.signal(number, handler)

    def _forward(self, number: int, _frame: Any) -> None:
        self.signal = number
        for process in self.processes:
            process.send_signal(number)

    def wait(self) -> None:
        """Wait until all processes have ended, and end the rest when one fails."""
        deadline = None
        while any(process.poll() is None for process in self.processes):
            if deadline is None and self._has_failed():
                deadline = time.monotonic() + (SAVING if self.signal else GRACE)
            if deadline is not None and time.monotonic() > deadline:
                self._kill()
            time.sleep(POLL)

    def _has_failed(self) -> bool:
        # An error counts from when it is reported: to end may take long, with others waiting.
        return (self.folder / "error.json").exists() or any(p.poll() for p in self.processes)

    def _kill(self) -> None:
        for rank, process in enumerate(self.processes):
            if process.poll() is None:
                self.killed.add(rank)
                with suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
                process.wait()

    def failure(self) -> ProcessFailed | None:
        """Return what went wrong first, None if nothing did."""
        codes = [(r, p.returncode) for r, p in enumerate(self.processes) if r not in self.killed]
        dead = next(((rank, -code) for rank, code in codes if code < 0), None)
        error = self.folder / "error.json"
        if dead and self.signal is None:  # no error is the first one, then
            rank, number = dead
            name = signal.Signals(number).name
            return ProcessFailed(
                f"process {rank} of {self.number} was killed by {name}"
                f"{', perhaps for want of memory' * (number == signal.SIGKILL)}. "
                "Fix: the same command with its hydra.run.dir and resume=true",
                128 + number,
            )
        if error.exists():
            return ProcessFailed(**json.loads(error.read_text()))
        if dead:
            return ProcessFailed("interrupted", 128 + dead[1])
        failed = next(((rank, code) for rank, code in codes if code), None)
        if failed is None:
            return None
        return ProcessFailed(
            f"process {failed[0]} of {self.number} ended with exit code {failed[1]}", failed[1]
        )


def _environment(folder: Path, number: int) -> dict[str, str]:
    """Return the environment of all processes, named as torchrun names it, for libraries."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    cores = (
        len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    )
    # Each would otherwise take all cores, talk on the network, and warn where that has no names.
    threads = str(max(cores // number, 1))
    defaults = {"OMP_NUM_THREADS": threads, "TORCH_CPP_LOG_LEVEL": "ERROR"}
    if sys.platform == "linux":
        defaults["GLOO_SOCKET_IFNAME"] = "lo"
    return {
        **defaults,
        **os.environ,
        FOLDER: str(folder),
        "WORLD_SIZE": str(number),
        "LOCAL_WORLD_SIZE": str(number),
        "GROUP_RANK": "0",
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
        "TORCHELASTIC_RUN_ID": folder.name,
    }
