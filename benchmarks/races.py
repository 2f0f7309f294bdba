"""The races of `throughput.py`: pairs of networks."""

import statistics
from collections.abc import Callable, Sequence
from copy import deepcopy
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import torch
from contestants import SETTINGS, Job, by_hand, calibrated, compose
from torch import Tensor, nn
from turns import Contestant, Found, Pause, Times, clock_of, pool, race, ratio
from tutorial import tutorial

from potstill.config.instantiate import instantiate
from potstill.data.datamodule import ImageData
from potstill.data.loaders.in_memory import Images

SPARE = 4  # steps beyond the rounds: building, warm-up, and the loader's look ahead
RUNS = 8  # of a sweep
EPOCHS = 100  # of a run, as conf/experiment has it
GOALS = {"c/d": 1.03, "c/e": 1.03}
ON_GPU = "trainer.accelerator=gpu"
GPU_STEPS = 20  # a turn there: one alone would show its launches, which others hide


@dataclass(frozen=True)
class Pair:
    """A teacher and a student, with the goals of b/a and c/a.

    Attributes:
        overrides: of the run's config; the first names the experiment.
        batch_size: images a step.
        matrix_units: goals of b/a and c/a where the processor has them for bfloat16.
        plain: the goal of b/a where it has none.
    """

    overrides: tuple[str, ...]
    batch_size: int
    matrix_units: tuple[float, float]
    plain: float

    def goals(self, has_matrix_units: bool) -> dict[str, float]:
        """Return the goals on this machine."""
        if has_matrix_units:
            return GOALS | dict(zip(("b/a", "c/a"), self.matrix_units, strict=True))
        return GOALS | {"b/a": self.plain}


PAIRS = {
    "resnet56_resnet20": Pair(("experiment=kd_r56_r20",), 128, (0.32, 0.22), 0.80),
    "resnet50_resnet18": Pair(("experiment=kd_r50_r18",), 64, (0.26, 0.18), 0.85),
}
STUDENT_8 = "model@module.student=cifar_resnet8"
TEACHER_8 = "model@module.teacher=cifar_resnet8"
STAND_IN = Pair(("experiment=kd_r56_r20", STUDENT_8, TEACHER_8), 4, (1, 1), 1)


@dataclass
class Raced:
    """A pair's numbers.

    Attributes:
        ratios: by name.
        milliseconds: of a step, medians, by contestant.
        facts: whether the comparisons are of the same thing.
    """

    ratios: dict[str, Found]
    milliseconds: dict[str, float]
    facts: dict[str, float] = field(default_factory=dict)


def settings(pair: Pair, steps: int, more: Sequence[str]) -> list[str]:
    """Return the overrides of a run whose epoch is `steps` steps long."""
    return [
        *pair.overrides,
        *SETTINGS,
        f"data.batch_size={pair.batch_size}",
        f"data.train_size={pair.batch_size * steps + 10}",
        "data.val_size=10",
        *more,
    ]


@dataclass
class Built:
    """What one build of a pair's contestants gave.

    Attributes:
        times: seconds of a step, by contestant and round.
        fill: seconds of each batch in which the teacher ran.
        facts: see `Raced`.
    """

    times: Times
    fill: list[float]
    facts: dict[str, float]


def race_pair(
    pair: Pair,
    rounds: Sequence[int],
    folder: Path,
    goals: dict[str, float],
    more: Sequence[str] = (),
) -> Raced:
    """Race (a) to (e) of a pair, and (a), (d) and (e) against themselves.

    On a GPU also (e) on one batch that stays there, and a check that no step waits for it.

    Args:
        pair: who learns from whom.
        rounds: of each build of the contestants.
        folder: for their files.
        goals: by ratio.
        more: settings of the framework's runs.
    """
    parts = [_race_built(pair, count, folder / str(n), more) for n, count in enumerate(rounds)]
    times, fill = pool([part.times for part in parts]), [s for part in parts for s in part.fill]
    ratios = {f"{x}/{y}": ratio(times, x, y, goals.get(f"{x}/{y}")) for x, y in _wanted()}
    if "fixed" in times:
        ratios["e/fixed"] = ratio(times, "e", "fixed", 1.02)
    facts = {name: max(part.facts[name] for part in parts) for name in parts[0].facts}
    passes = facts[f"teacher_passes_a_image_in_{EPOCHS}_epochs"] / EPOCHS
    ratios["sweep/alone"] = _sweep(ratios["c/d"], times["d"], fill, passes)
    return Raced(ratios, medians(times), facts)


def _race_built(pair: Pair, rounds: int, folder: Path, more: Sequence[str]) -> Built:
    on_gpu = ON_GPU in more
    steps = GPU_STEPS if on_gpu else 1
    lines = settings(pair, (rounds + SPARE) * steps, more)
    online = compose(*lines, "teacher.store=off")
    stored = compose(*lines, "teacher.store=auto", f"teacher.store_dir={folder / 'store'}")
    teacher = make_teacher(Job(stored, folder / "teacher"), pair.batch_size)
    plain = deepcopy(teacher)  # nothing the framework does to its own reaches the tutorial's

    jobs = {"b": Job(online, folder / "b", deepcopy(teacher))}
    jobs |= {"c": Job(stored, folder / "c", deepcopy(teacher))}
    table, fill = jobs["c"].fill()
    jobs |= {name: Job(online, folder / name) for name in ("d", "d again")}
    fixed = ("fixed", "fixed again") if on_gpu else ()
    hands = {name: Job(online, folder / name) for name in ("e", "e again", *fixed)}
    losses: dict[str, list[Tensor]] = {name: [] for name in hands}
    loops: dict[str, Callable[[Pause], None]] = {name: job.loop for name, job in jobs.items()}
    for name, job in hands.items():
        forward = lambda _, ids: table[ids]  # noqa: E731
        loops[name] = partial(by_hand, job, forward, losses[name], always_same=name in fixed)
    for name in ("a", "a again"):
        job = Job(online, folder / name)
        make = partial(deepcopy, job.student)
        loops[name] = partial(tutorial, _images(job), pair.batch_size, make, plain, job.device)
    clock = clock_of(jobs["b"].device)
    times = race({name: Contestant(loop, steps, clock) for name, loop in loops.items()}, rounds)
    facts = {
        "loss_difference_c_e": apart(jobs["c"].losses, losses["e"]),
        "logit_difference_b_c": _off(jobs["c"], table),
        f"teacher_passes_a_image_in_{EPOCHS}_epochs": new_view_share(jobs["c"].data) * EPOCHS,
    }
    if on_gpu:
        facts["steps_that_never_wait"] = float(never_waits(Job(online, folder / "f", teacher)))
    return Built(times, fill, facts)


def never_waits(job: Job, steps: int = 50) -> int:
    """Return `steps` if so many steps on a GPU never make the host wait for it.

    Raises:
        RuntimeError: where one does; torch says by what.
    """
    contestant = Contestant(job.loop, steps)
    for _ in range(2):  # the first builds, the second warms up
        contestant.seconds()
    torch.cuda.set_sync_debug_mode("error")
    try:
        contestant.seconds()
    finally:
        torch.cuda.set_sync_debug_mode("default")
        contestant.stop()
    return steps


def _wanted() -> list[tuple[str, str]]:
    return [("b", "a"), ("c", "a"), ("c", "d"), ("c", "e")]


def make_teacher(job: Job, batch_size: int) -> nn.Module:
    """Return a fresh teacher whose batch-norms know the first images."""
    torch.manual_seed(1)
    network: nn.Module = instantiate(job.cfg.module.teacher)
    image, *_ = next(iter(job.data.train_dataloader()))
    return calibrated(network.to(image.device), image[:batch_size])


def _images(job: Job) -> Images:
    return job.data._splits["train"]


def medians(times: Times) -> dict[str, float]:
    """Return the milliseconds of a step, by contestant."""
    return {name: 1e3 * statistics.median(values) for name, values in sorted(times.items())}


def apart(one: Sequence[Tensor], other: Sequence[Tensor]) -> float:
    """Return the largest relative difference of two runs' losses, over the steps both made."""
    count = min(len(one), len(other))
    pairs = zip(torch.stack(list(one[:count])), torch.stack(list(other[:count])), strict=True)
    return max(float((x - y).abs() / y.abs().clamp_min(1e-12)) for x, y in pairs)


@torch.no_grad()
def _off(job: Job, table: Tensor) -> float:
    """Return how far the table is from the teacher on one batch, relative to its largest."""
    assert job.teacher is not None
    image, _, sample_id = next(iter(job.data.train_loader(_images(job))))
    logits = job.teacher.to(image.device)(image).float()
    return float((table[sample_id] - logits).abs().max() / logits.abs().max())


def new_view_share(data: ImageData) -> float:
    """Return how much of what a run of all epochs sees was not seen before in it, counted."""
    sample_id = torch.arange(data.num_train)
    views = torch.stack([data.view_index(sample_id, epoch, 0) for epoch in range(EPOCHS)])
    return sum(len(column.unique()) for column in views.T) / views.numel()


def _sweep(stored: Found, alone: list[float], fill: list[float], share: float) -> Found:
    """Return eight runs that share a store over eight without a teacher, by calculation.

    The first of the runs runs the teacher on the `share` of its images whose view is new, the
    others never: with the same seed they see the same ones.
    """
    passes = share * statistics.median(fill) / statistics.median(alone) / RUNS
    low, high = stored.quartiles
    quartiles = low + passes, high + passes
    return Found(stored.value + passes, quartiles, stored.control, 1.10)
