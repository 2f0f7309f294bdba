"""Training runs in processes forked from this one, which has imported everything already."""

import json
import logging
import os
import signal
import socket
import sys
import tempfile
import time
import traceback
import warnings
from collections.abc import Callable
from functools import partial
from pathlib import Path

from fault_runs import Run

from potstill.errors import PotstillError


def forked(task: Callable[[], None], folder: Path) -> int:
    """Start `task` in a process with its own $TMPDIR; errors go to error.txt."""
    pid = os.fork()
    if pid:
        return pid
    code = 1
    try:
        _own_temporary_folder(folder)
        warnings.simplefilter("ignore")
        logging.disable(logging.INFO)
        sys.stdout = sys.stderr = (folder / "output.txt").open("a")
        task()
        code = 0
    except BaseException as error:
        code = error.exit_code if isinstance(error, PotstillError) else 1
        (folder / "error.txt").write_text(traceback.format_exc()[-2000:])
    finally:
        os._exit(code)  # whatever happens: this is not the process that cleans up


def _own_temporary_folder(folder: Path) -> None:
    """Make `folder`/tmp the place for temporary files: in memory where there is such a place."""
    folder.mkdir(parents=True, exist_ok=True)
    link = folder / "tmp"
    if not link.exists():
        memory = Path("/dev/shm")
        link.symlink_to(tempfile.mkdtemp(dir=memory if memory.is_dir() else folder))
    tempfile.tempdir = str(link.resolve())  # short: worker processes open sockets in it


def code_of(pid: int) -> int:
    """Wait for a process and return its exit code, minus the signal's number if killed."""
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def killed_after(run: Run, folder: Path, seconds: float) -> int:
    """Train, send SIGKILL after `seconds`, and return the exit code."""
    pid = forked(partial(run.train, folder), folder)
    time.sleep(seconds)
    os.kill(pid, signal.SIGKILL)
    return code_of(pid)


def finished(run: Run, folder: Path, ranks: int = 1) -> list[dict[str, str]]:
    """Train to the end and return each rank's result; raise with a child's traceback."""
    if any(codes := trained(run, folder, ranks)):
        raise RuntimeError(f"exit {codes}: {(folder / 'error.txt').read_text()}")
    return [json.loads((folder / f"result-{rank}.json").read_text()) for rank in range(ranks)]


def rest(run: Run, folder: Path, ranks: int = 1) -> list[dict[str, str]] | None:
    """Train what is left and return each rank's result; None, and why, where that fails."""
    try:
        return finished(run, folder, ranks)
    except RuntimeError as error:
        print(error, file=sys.stderr)
        return None


def trained(run: Run, folder: Path, ranks: int = 1) -> list[int]:
    """Train in `ranks` processes and return their exit codes."""
    if ranks == 1:
        return [code_of(forked(partial(run.train, folder), folder))]
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free.getsockname()[1])}
    pids = []
    for rank in range(ranks):
        place = {"LOCAL_RANK": str(rank), "NODE_RANK": "0", "WORLD_SIZE": str(ranks)}

        def task(place: dict[str, str] = place) -> None:
            os.environ.update(address | place)
            run.train(folder)

        pids.append(forked(task, folder))
    return [code_of(pid) for pid in pids]
