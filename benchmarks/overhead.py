"""The framework's own cost of a step, in either training loop, beside the same by hand."""

from collections.abc import Sequence
from copy import deepcopy
from functools import partial
from pathlib import Path

import torch
from contestants import Job, by_hand, compose
from races import PAIRS, SPARE, Built, Pair, Raced, apart, medians, settings
from torch import Tensor, nn
from turns import Contestant, difference, pool, race


def race_overhead(
    rounds: Sequence[int], steps: int, folder: Path, more: Sequence[str] = ()
) -> Raced:
    """Race a tiny network's distillation against the same by hand, `steps` a turn.

    `rounds` is of each build of the contestants.
    """
    parts = [_overhead(count, steps, folder / str(n), more) for n, count in enumerate(rounds)]
    times = pool([part.times for part in parts])
    facts = {name: max(part.facts[name] for part in parts) for name in parts[0].facts}
    found = {
        "overhead_ms": difference(times, "fast", "raw", 0.5),
        "overhead_lightning_ms": difference(times, "lightning", "raw"),
    }
    return Raced(found, medians(times), facts)


def _overhead(rounds: int, steps: int, folder: Path, more: Sequence[str]) -> Built:
    pair = Pair(PAIRS["resnet56_resnet20"].overrides, 32, (1, 1), 1)
    small = ("data.image_size=8", "data.crop_padding=0", "data.flip=false", "teacher.store=off")
    lines = settings(pair, (rounds + SPARE) * steps, (*small, *more))
    torch.manual_seed(0)
    student, teacher = _mlp(32), _mlp(64).eval().requires_grad_(False)
    contestants, jobs = {}, {}
    for loop in ("fast", "lightning"):
        jobs[loop] = Job(compose(*lines, f"loop={loop}"), folder / loop, deepcopy(teacher))
        jobs[loop].student = deepcopy(student)
        contestants[loop] = Contestant(jobs[loop].loop, steps)
    losses: dict[str, list[Tensor]] = {"raw": [], "raw again": []}
    for name, kept in losses.items():
        hand = Job(jobs["fast"].cfg, folder / name)
        hand.student = deepcopy(student)
        forward = torch.no_grad()(lambda image, _: teacher(image))
        contestants[name] = Contestant(partial(by_hand, hand, forward, kept), steps)
    times = race(contestants, rounds)
    differences = [apart(job.losses, losses["raw"]) for job in jobs.values()]
    return Built(times, [], {"loss_difference": max(differences)})


def _mlp(width: int) -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.Linear(192, width), nn.ReLU(), nn.Linear(width, 10))
