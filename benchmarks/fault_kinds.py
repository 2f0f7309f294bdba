"""Kinds of faults: what is killed where, and what became of it."""

import itertools
import os
import random
import resource
import signal
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
from fault_processes import code_of, finished, forked, killed_after, rest, trained
from fault_runs import STEPS, Run, is_torn

from potstill.errors import StorageError
from potstill.training.checkpoints import files


@dataclass
class Outcome:
    """What became of the runs of one kind of fault.

    `torn` checkpoints could not be read after a kill, `leaked` files were left at the end, and
    `exits` of the kills ended with the code they should: -9, or 128 more than the signal; of
    whole runs, with one line as well. `gone` is the longest from a fault in a whole run until
    none of its processes was left, in seconds.
    """

    runs: int = 0
    kills: int = 0
    exact: int = 0
    torn: int = 0
    leaked: int = 0
    exits: int = 0
    gone: float = 0.0

    def count(self, folder: Path, expected: Any, found: Any) -> None:
        """Add a run that has come to its end."""
        self.runs += 1
        self.exact += found == expected
        self.leaked += sum(path.is_file() for path in (folder / "tmp").rglob("*"))
        self.leaked += sum(path.name != ".lock" for path in folder.rglob(".*"))

    def killed(self, folder: Path, codes: list[int], expected: int = -signal.SIGKILL) -> None:
        """Look at the checkpoints right after a kill."""
        self.kills += 1
        self.exits += set(codes) == {expected}
        for path in (folder / "checkpoints").glob("*.ckpt"):
            is_plain = not list(path.parent.glob("*.json"))
            counts = is_plain or path.with_suffix(".json").is_file()
            self.torn += counts and is_torn(path)


class Die(pl.Callback):
    """SIGKILL, or another signal, at the `nth` call of a hook; on one rank, or on all."""

    def __init__(
        self, hook: str, nth: int, number: int = signal.SIGKILL, rank: int | None = None
    ) -> None:
        self.left, self.number, self.rank = nth, number, rank
        setattr(self, hook, self._call)

    def _call(self, trainer: pl.Trainer, *_: Any) -> None:
        self.left -= 1
        if self.left == 0 and self.rank in (None, trainer.global_rank):
            os.kill(os.getpid(), self.number)


def die_in(place: Any, name: str, nth: int) -> None:
    """Let this process be killed at the `nth` call of a function."""
    real, left = getattr(place, name), nth

    def call(*args: Any, **kwargs: Any) -> Any:
        nonlocal left
        left -= 1
        if left == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        return real(*args, **kwargs)

    setattr(place, name, call)


def at_random(root: Path, run: Run, kills: int) -> Outcome:
    """SIGKILL at random times, again and again, until the run ends."""
    outcome, draw = Outcome(), random.Random(0)
    start = time.perf_counter()
    expected = finished(run, root / "alone")
    seconds = time.perf_counter() - start
    for number in itertools.takewhile(lambda _: outcome.kills < kills, itertools.count()):
        folder, before = root / f"random-{number}", outcome.kills
        while outcome.kills < kills:
            code = killed_after(run, folder, draw.uniform(0, seconds))
            if code == 0:
                break
            outcome.killed(folder, [code])
        if outcome.kills > before:  # else it ended before its first kill
            outcome.count(folder, expected, rest(run, folder))
    return outcome


def in_writing(root: Path, run: Run, kills: int) -> Outcome:
    """SIGKILL inside a save: between two of its system calls, or with half the bytes written."""
    outcome, draw = Outcome(), random.Random(1)
    expected = finished(run, root / "alone")
    calls = [
        (os, "fsync"),
        (os, "replace"),
        (os, "unlink"),
        (os, "link"),
        (files._Hashing, "write"),
    ]
    for number in range(kills):
        folder, (place, name) = root / f"writing-{number}", calls[number % len(calls)]
        nth = draw.randint(1, 3 if name == "link" else 15)

        def task(place: Any = place, name: str = name, nth: int = nth, to: Path = folder) -> None:
            die_in(place, name, nth)
            run.train(to)

        if code := code_of(forked(task, folder)):
            outcome.killed(folder, [code])
        outcome.count(folder, expected, rest(run, folder))
    return outcome


def at_hooks(root: Path, run: Run, cases: list[tuple[str, int]], ranks: int = 1) -> Outcome:
    """SIGKILL at the nth call of a hook; then the rest in one go."""
    outcome = Outcome()
    expected = finished(run, root / "alone", ranks)
    for hook, nth in cases:
        folder = root / f"{hook}-{nth}"
        died = replace(run, callbacks=(*run.callbacks, Die(hook, nth)))
        outcome.killed(folder, trained(died, folder, ranks))
        outcome.count(folder, expected, rest(run, folder, ranks))
    return outcome


def at_workers(root: Path, run: Run, steps: list[int]) -> Outcome:
    """Killed with one worker count, resumed with another."""
    outcome = Outcome()
    expected = finished(run, root / "alone")
    for step in steps:
        for before, after in ((0, 2), (2, 0)):
            folder = root / f"workers-{step}-{before}"
            dies = (Die("on_train_batch_start", step + 1),)
            first = replace(run, workers=before, callbacks=dies)
            outcome.killed(folder, trained(first, folder))
            outcome.count(folder, expected, rest(replace(run, workers=after), folder))
    return outcome


def by_signal(root: Path, run: Run, ranks: int = 1) -> Outcome:
    """SIGTERM, SIGINT or SIGUSR1 (to the last rank) in a step, an epoch's last, and validation."""
    outcome = Outcome()
    expected = finished(run, root / "alone", ranks)
    starts = "on_train_batch_start"
    cases = [
        (signal.SIGTERM, starts, 2),
        (signal.SIGTERM, "on_validation_start", 2),
        (signal.SIGINT, starts, STEPS),
        (signal.SIGUSR1, starts, STEPS + 1),
    ]
    for number, hook, nth in cases:
        folder = root / f"{number}-{hook}"
        stopped = replace(run, callbacks=(*run.callbacks, Die(hook, nth, number, ranks - 1)))
        outcome.killed(folder, trained(stopped, folder, ranks), 128 + number)
        outcome.count(folder, expected, rest(run, folder, ranks))
    return outcome


def on_full_disk(root: Path, run: Run) -> Outcome:
    """No file may grow over a limit: the save fails with exit 5, the last good one is kept."""
    outcome = Outcome()
    expected = finished(run, root / "alone")
    folder = root / "full"
    trained(replace(run, callbacks=(Die("on_train_batch_start", 4),)), folder)

    def task() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))
        run.train(folder)

    outcome.killed(folder, [code_of(forked(task, folder))], StorageError.exit_code)
    assert files.last_good(folder / "checkpoints").name == files.name_of(3)
    outcome.count(folder, expected, rest(run, folder))
    return outcome
