"""What the framework itself costs a step, beside the same by hand."""

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
    return Raced({"overhead_ms": difference(times, "ours", "raw", 0.5)}, medians(times), facts)


def _overhead(rounds: int, steps: int, folder: Path, more: Sequence[str]) -> Built:
    pair = Pair(PAIRS["resnet56_resnet20"].overrides, 32, (1, 1), 1)
    small = ("data.image_size=8", "data.crop_padding=0", "data.flip=false", "teacher.store=off")
    cfg = compose(*settings(pair, (rounds + SPARE) * steps, (*small, *more)))
    torch.manual_seed(0)
    student, teacher = _mlp(32), _mlp(64).eval().requires_grad_(False)
    job = Job(cfg, folder / "ours", deepcopy(teacher))
    job.student = deepcopy(student)
    losses: dict[str, list[Tensor]] = {"raw": [], "raw again": []}
    contestants = {"ours": Contestant(job.loop, steps)}
    for name, kept in losses.items():
        hand = Job(cfg, folder / name)
        hand.student = deepcopy(student)
        forward = torch.no_grad()(lambda image, _: teacher(image))
        contestants[name] = Contestant(partial(by_hand, hand, forward, kept), steps)
    times = race(contestants, rounds)
    return Built(times, [], {"loss_difference": apart(job.losses, losses["raw"])})


def _mlp(width: int) -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.Linear(192, width), nn.ReLU(), nn.Linear(width, 10))
