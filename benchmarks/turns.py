"""Loops that take turns, a few steps each, so that what slows one down slows down all of them.

Seconds are of the process's CPU time: other programs on the machine change them far less than
they change the time on the wall. On a GPU they are between two of its events.
"""

import random
import statistics
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch

Pause = Callable[[], None]
Times = dict[str, list[float]]


def processor(turn: Callable[[], None]) -> float:
    """Return the CPU seconds of a turn."""
    start = time.process_time()
    turn()
    return time.process_time() - start


def gpu(turn: Callable[[], None]) -> float:
    """Return the seconds from before to after the work that a turn queues on a GPU."""
    start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    start.record()
    turn()
    end.record()
    end.synchronize()
    return start.elapsed_time(end) / 1e3


def clock_of(device: torch.device) -> Callable[[Callable[[], None]], float]:
    """Return how turns are timed on `device`."""
    return gpu if device.type == "cuda" else processor


class Stopped(Exception):
    """Unwinds a loop that no longer gets turns."""


class Contestant:
    """A loop in a thread of its own, which stands still while it is not its turn.

    The clock runs from one call of `pause` to the same call of a later step, so that all a step
    costs is in it, the loader's part as well. The first turn ends at the first pause: it builds
    what the loop needs.

    Args:
        loop: calls `pause` at the start of each step.
        steps: how many make a turn.
        clock: calls what it is given and returns the seconds of it.
    """

    def __init__(
        self,
        loop: Callable[[Pause], None],
        steps: int = 1,
        clock: Callable[[Callable[[], None]], float] = processor,
    ) -> None:
        self.steps, self._clock = steps, clock
        self._left, self._stopping, self._over = 1, False, False
        self._error: BaseException | None = None
        self._go, self._done = threading.Semaphore(0), threading.Semaphore(0)
        self._thread = threading.Thread(target=self._run, args=(loop,), daemon=True)
        self._thread.start()

    def _run(self, loop: Callable[[Pause], None]) -> None:
        torch.set_num_threads(1)  # a thread has its own number
        self._go.acquire()
        try:
            if not self._stopping:
                loop(self._pause)
        except Stopped:
            pass
        except BaseException as error:
            self._error = error
        self._over = True
        self._done.release()

    def _pause(self) -> None:
        self._left -= 1
        if self._left == 0:
            self._done.release()
            self._go.acquire()
            self._left = self.steps
        if self._stopping:
            raise Stopped

    def seconds(self) -> float:
        """Let the loop take a turn and return the seconds of one of its steps.

        Raises:
            RuntimeError: if the loop has come to its end.
        """
        seconds = self._clock(self._take_turn)
        if self._error is not None:
            raise self._error
        if self._over:
            raise RuntimeError("the loop ended before its turns did")
        return seconds / self.steps

    def _take_turn(self) -> None:
        self._go.release()
        self._done.acquire()

    def stop(self) -> None:
        """End the loop and wait for it."""
        self._stopping = True
        self._go.release()
        self._thread.join()


def race(contestants: Mapping[str, Contestant], rounds: int, warm_up: int = 1) -> Times:
    """Return the seconds of a step of each contestant, by round, each in a drawn order."""
    order, draw = list(contestants), random.Random(0)
    times: Times = {name: [] for name in order}
    try:
        for turn in range(-1 - warm_up, rounds):  # the first builds
            draw.shuffle(order)
            for name in order:
                seconds = contestants[name].seconds()
                if turn >= 0:
                    times[name].append(seconds)
    finally:
        for contestant in contestants.values():
            contestant.stop()
    return times


def shares(rounds: int, builds: int) -> list[int]:
    """Return how many rounds each build of the contestants runs, so many in all.

    Where a build's tensors happen to lie makes its loops a percent or two faster or slower for as
    long as it lasts: what more rounds do not even out, more builds do.
    """
    return [len(range(number, rounds, builds)) for number in range(min(builds, rounds))]


def pool(parts: Sequence[Times]) -> Times:
    """Return the seconds of several builds' rounds as those of one race."""
    return {name: [s for part in parts for s in part[name]] for name in parts[0]}


@dataclass(frozen=True)
class Found:
    """A number and what the same loop against itself gives: the noise.

    Attributes:
        value: the median over the rounds.
        quartiles: the first and the third.
        control: the median of A/A; for a difference, of A - A.
        goal: at most this; None where there is none.
        neutral: what a control without noise is: 1 for a ratio, 0 for a difference.
    """

    value: float
    quartiles: tuple[float, float]
    control: float | None = None
    goal: float | None = None
    neutral: float = 1.0

    @property
    def verdict(self) -> str:
        """Pass or over; not resolved where the noise is half as large as what is left."""
        if self.goal is None:
            return ""
        noise = 0.0 if self.control is None else abs(self.control - self.neutral)
        if abs(self.goal - self.value) < 2 * noise:
            return "not resolved"
        return "pass" if self.value <= self.goal else "over"


def ratio(times: Times, name: str, to: str, goal: float | None = None) -> Found:
    """Return `name` over `to`, and `<to> again` over `to`, the medians of the rounds' ratios."""
    values = [mine / theirs for mine, theirs in zip(times[name], times[to], strict=True)]
    return _found(values, _control(times, to, lambda again, first: again / first), goal, 1.0)


def difference(times: Times, name: str, to: str, goal: float | None = None) -> Found:
    """Return `name` minus `to` in milliseconds, the median of the rounds' differences."""
    values = [1e3 * (mine - theirs) for mine, theirs in zip(times[name], times[to], strict=True)]
    return _found(values, _control(times, to, lambda a, b: 1e3 * (a - b)), goal, 0.0)


def _control(times: Times, to: str, compare: Callable[[float, float], float]) -> float:
    pairs = zip(times[f"{to} again"], times[to], strict=True)
    return statistics.median(compare(again, first) for again, first in pairs)


def _found(values: list[float], control: float, goal: float | None, neutral: float) -> Found:
    first, _, third = statistics.quantiles(values, n=4)
    return Found(statistics.median(values), (first, third), control, goal, neutral)
