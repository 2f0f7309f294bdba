"""Work in a child process that may take only so much time and memory."""

import multiprocessing
import resource
import signal
from collections.abc import Callable, Iterator, Sequence
from multiprocessing.connection import Connection
from typing import Any

LIMIT = 360  # seconds of one core for a part
WALL = 4 * LIMIT  # seconds of the clock, where others use the cores as well
MEMORY = 8 * 2**30  # bytes
Row = dict[str, Any]
Work = Callable[[str], Row]


def in_child(parts: Sequence[str], make: Callable[[], Work]) -> Iterator[Row]:
    """Yield what `make()` gives of each part; a part at which a child ends is given up."""
    left = list(parts)
    context = multiprocessing.get_context("fork")  # what is imported is there already
    while left:
        receiver, sender = context.Pipe(duplex=False)
        child = context.Process(target=_child, args=(left, make, sender))
        child.start()
        sender.close()
        for row in _received(receiver):
            yield row
            left.remove(row["part"])
        child.kill()
        child.join()
        if left:
            verdict = {"verdict": "refused", "reason": _reason(child.exitcode)}
            yield {"part": left.pop(0), **verdict, "seconds": LIMIT}


def _received(receiver: Connection) -> Iterator[Row]:
    while receiver.poll(WALL):
        try:
            yield receiver.recv()
        except EOFError:
            return


def _child(parts: Sequence[str], make: Callable[[], Work], sender: Connection) -> None:
    resource.setrlimit(resource.RLIMIT_DATA, (MEMORY, MEMORY))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    work = make()
    for part in parts:
        used = resource.getrusage(resource.RUSAGE_SELF)
        soft = int(used.ru_utime + used.ru_stime) + LIMIT
        resource.setrlimit(resource.RLIMIT_CPU, (soft, resource.RLIM_INFINITY))
        sender.send(work(part))


def _reason(code: int | None) -> str:
    if code in (-signal.SIGXCPU, -signal.SIGKILL):
        return f"too slow here: more than {LIMIT} s of one core"
    return f"too large here: its process ended ({code}) within {MEMORY / 2**30:.0f} GB"
