"""The same faults for potstill and for plain Lightning: `python benchmarks/faults.py`.

Every case is a small run that is killed and resumed until it ends, in processes forked from this
one. It counts as exact if weights, optimizer, best weights and metrics.csv have the sha256 of the
run that was left alone.
"""

import argparse
import json
import shutil
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path

import torch
from fault_kinds import (
    Outcome,
    at_hooks,
    at_random,
    at_workers,
    by_signal,
    in_writing,
    on_full_disk,
)
from fault_phases import disk_fills, parent_dies, ranks_die
from fault_runs import EPOCHS, STEPS, Run
from PIL import Image

from potstill.atomic import write_atomically


def photographs(root: Path) -> Path:
    """Write tiny images in ImageNet's layout, 52 for training and validation, 4 for the test."""
    generator = torch.Generator().manual_seed(0)
    for part, count in (("train", 13), ("val", 1)):
        for label in "abcd":
            (root / part / label).mkdir(parents=True)
            for number in range(count):
                pixels = torch.randint(256, (10, 10, 3), generator=generator, dtype=torch.uint8)
                Image.fromarray(pixels.numpy()).save(root / part / label / f"{number}.jpg")
    return root


def cases(root: Path, kills: int, plain: bool = False) -> dict[str, Callable[[], Outcome]]:
    """Return every kind of fault by name, the first five also for plain Lightning."""
    starts = "on_train_batch_start"
    steps = [(starts, step + 1) for step in range(1, STEPS * EPOCHS)] + [("on_train_end", 1)]
    some = [(starts, step + 1) for step in ((3, 4, 5, 8) if kills >= 50 else (4, 5))]
    hooks = ("validation_start", "validation_end", "train_epoch_end", "train_epoch_start")
    nths = (1, 3) if kills >= 50 else (2,)
    ends = [(f"on_{hook}", nth) for hook in hooks for nth in nths]
    run, seldom = Run(plain=plain), Run(plain=plain, every=3)
    changed = {
        "moving teacher, two views": replace(run, moving=True, views=2),
        "average, mixup, CutMix": replace(run, averaged=True),
        "teacher store": replace(run, stored=True),
        "accumulated gradients": replace(run, trainer={"accumulate_grad_batches": 2}),
        "validation within epochs": replace(run, trainer={"val_check_interval": 2}),
        "validation every 2nd epoch": replace(run, trainer={"check_val_every_n_epoch": 2}),
        "max_steps": replace(run, trainer={"max_steps": 10, "max_epochs": -1}),
    }
    found: dict[str, Callable[[], Outcome]] = {
        "random": partial(at_random, root / "r", replace(run, every=2, stored=not plain), kills),
        "random, 20 MB": partial(at_random, root / "l", replace(run, idle=5_000_000), kills),
        "every step": partial(at_hooks, root / "s", run, steps),
        "every hook": partial(at_hooks, root / "h", seldom, ends),
        "signals": partial(by_signal, root / "sig", replace(run, every=None)),
    }
    if plain:
        return found
    found["writing"] = partial(in_writing, root / "w", run, kills // 2)
    found["full disk"] = partial(on_full_disk, root / "full", run)
    for number, (name, other) in enumerate(changed.items()):
        found[name] = partial(at_hooks, root / f"c{number}", other, some)
    photos = root / "photos"
    found["workers 0 and 2"] = lambda: at_workers(
        root / "p", replace(run, photos=photographs(photos)), [3, 4, 6] if kills >= 50 else [4]
    )
    ddp = replace(run, trainer={"strategy": "ddp", "devices": 2})
    found["2 processes"] = partial(at_hooks, root / "d", ddp, some[:2], 2)
    found["2 processes, signal"] = partial(by_signal, root / "ds", ddp, 2)
    rounds = max(kills // 25, 1)
    found["a rank dies"] = partial(ranks_die, root / "rank", rounds)
    found["the parent dies"] = partial(parent_dies, root / "parent", rounds)
    found["the disk fills"] = partial(disk_fills, root / "disk")
    return found


def main() -> None:
    """Print a line for each kind of fault."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=50, help="below 50, of the rest less too")
    parser.add_argument("--only", nargs="*", help="kinds of faults")
    parser.add_argument("--plain", action="store_true", help="plain Lightning instead")
    parser.add_argument("--json", type=Path, help="write the counts there")
    options = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        chosen = cases(Path(folder), options.kills, options.plain)
        outcomes = {}
        for name in options.only or chosen:
            start = time.perf_counter()
            outcomes[name] = asdict(chosen[name]())
            for place in Path(folder).rglob("tmp"):
                shutil.rmtree(place.resolve(), ignore_errors=True)
            print(f"{name:28}", outcomes[name], f"{time.perf_counter() - start:.1f} s", flush=True)
    if options.json:
        write_atomically(options.json, json.dumps(outcomes, indent=1))


if __name__ == "__main__":
    main()
