"""The rest of what `throughput.py` measures: loaders by themselves, memory, and a sweep."""

import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from copy import deepcopy
from functools import partial
from pathlib import Path

import torch
from contestants import Job, compose
from races import PAIRS, RUNS, SPARE, STAND_IN, Pair, Raced, make_teacher, settings
from torch.utils.data import DataLoader
from turns import Contestant, Found, Pause, race, ratio
from tutorial import PilImages

from potstill.data.loaders.in_memory import ArrayLoader, Images, Normalize
from potstill.data.loaders.views import Viewing
from potstill.data.transforms.crop_flip import Augment


def race_loaders(rounds: int, batches: int, sizes: Sequence[int]) -> dict[str, Found]:
    """Race our loader against PIL in a DataLoader, and against itself on larger data sets."""
    batch_size, (first, *larger) = 128, [f"{size:,}" for size in sizes]
    images = torch.empty(max(sizes), 3, 32, 32, dtype=torch.uint8).random_(0, 256)
    targets = torch.arange(max(sizes)) % 10
    several = {f"{n:,}": Images(images[:n], targets[:n]) for n in sizes}
    loops = {name: partial(_ours, photos, batch_size) for name, photos in several.items()}
    loops[f"{first} again"] = loops[first]
    loops |= {name: partial(_pil, several[first], batch_size) for name in ("pil", "pil again")}
    times = race({name: Contestant(loop, batches) for name, loop in loops.items()}, rounds)
    found = {"loader/pil": ratio(times, first, "pil", 0.20)}
    return found | {f"loader {n}/{first}": ratio(times, n, first, 1.10) for n in larger}


def _ours(photos: Images, batch_size: int, pause: Pause) -> None:
    viewing = Viewing(Augment(seed=0, crop_padding=4, flip=True))
    loader = ArrayLoader(photos, batch_size, viewing, Normalize((0.5,) * 3, (0.25,) * 3))
    while True:
        for _ in loader:
            pause()


def _pil(photos: Images, batch_size: int, pause: Pause) -> None:
    while True:
        for _ in DataLoader(PilImages(photos), batch_size, shuffle=True, drop_last=True):
            pause()


def memory_ratio(quick: bool) -> Found:
    """Return by how much more a process grows with the teacher running than without one.

    What training allocates beyond both networks' weights, in fresh processes, several of each.
    """
    script = Path(__file__).with_name("throughput.py")
    command = [sys.executable, str(script), *(["--quick"] if quick else []), "--memory"]
    grown: dict[str, list[float]] = {kind: [] for kind in ("online", "alone", "alone again")}
    for _ in range(2 if quick else 5):
        for kind, values in grown.items():
            done = subprocess.run([*command, kind], stdout=subprocess.PIPE, check=True, text=True)
            values.append(float(done.stdout))
    return ratio(grown, "online", "alone", 1.35)


def grow(kind: str, pair: Pair, folder: Path) -> int:
    """Return by how many bytes this process grows while it trains for two steps."""
    cfg = compose(*settings(pair, SPARE, ("teacher.store=off",)))
    job = Job(cfg, folder)
    if kind == "online":
        job.teacher = make_teacher(job, 2)
    contestant = Contestant(job.loop)
    contestant.seconds()  # builds the trainer
    before = _status("VmRSS")
    for _ in range(2):
        contestant.seconds()
    # Not getrusage's: across an exec it keeps the peak of the process that started this one.
    peak = _status("VmHWM")
    contestant.stop()
    return peak - before


def _status(key: str) -> int:
    """Return what the kernel says of this process's memory, in bytes."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return 1024 * int(next(line for line in lines if line.startswith(f"{key}:")).split()[1])


# -- a sweep ------------------------------------------------------------------------------------


def race_sweep(folder: Path, steps: int, epochs: int, quick: bool) -> Raced:
    """Train a sweep's eight runs, which share a store of the teacher's outputs, and eight alone.

    Each run is followed by one without a teacher, and that by itself again: the control. The
    store, the folded copy of the teacher and the checks of both are in the time; building the
    networks is not. The first run needs the teacher for each image in each epoch, unless its view
    was shown before; the others never.
    """
    pair = STAND_IN if quick else PAIRS["resnet56_resnet20"]
    more = (f"trainer.max_epochs={epochs}", f"teacher.store_dir={folder / 'store'}")
    lines = settings(pair, steps, more)
    teacher = make_teacher(Job(compose(*lines), folder / "teacher"), pair.batch_size)
    seconds: dict[str, list[float]] = {name: [] for name in ("shared", "alone", "alone again")}
    forwards = []
    for number in range(RUNS):
        swept = (f"temperature={1 + number % 4}", f"alpha={0.5 + 0.4 * (number // 4)}")
        for name, kept in seconds.items():
            job = Job(compose(*lines, *swept), folder / f"{name}-{number}")
            job.teacher = deepcopy(teacher) if name == "shared" else None
            start = time.process_time()
            _train(job)
            kept.append(time.process_time() - start)
            if job.study.cached is not None:
                forwards.append(job.study.cached.forwards)
    each = [sum(values) / RUNS for values in seconds.values()]
    found = Found(each[0] / each[1], _quartiles(seconds), each[2] / each[1], 1.10)
    facts = {"teacher_forwards_first": float(forwards[0]), "others": float(sum(forwards[1:]))}
    passes = {"images_times_epochs": float(pair.batch_size * steps * epochs)}
    milliseconds = {name: 1e3 * value for name, value in zip(seconds, each, strict=True)}
    return Raced({"shared/alone": found}, milliseconds, facts | passes)


def _train(job: Job) -> None:
    if job.teacher is not None:
        job.study.meet(job.teacher)
    job.study.train("student", job.teacher)


def _quartiles(seconds: dict[str, list[float]]) -> tuple[float, float]:
    """Return those of the runs' own ratios, of which the first run's is the largest."""
    ratios = [x / y for x, y in zip(seconds["shared"], seconds["alone"], strict=True)]
    first, _, third = statistics.quantiles(ratios, n=4)
    return first, third
