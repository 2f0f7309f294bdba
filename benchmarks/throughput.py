"""What a step of training costs beside a loop written by hand.

`python benchmarks/throughput.py` prints a Markdown table; `--json FILE` keeps the numbers as
well, `--quick` tries everything with stand-ins too small to measure speed, and
`--set KEY=VALUE` changes a setting of the framework's runs. `--gpu` races the pairs on a GPU, by
its events, with all five loops there, and a batch that stays there beside the loader.

Of each pair of networks: (a) the loop that a tutorial would write, (b) this framework asking the
teacher at every step, (c) with the teacher's outputs stored, (d) without a teacher, (e) what (c)
computes in a loop written by hand. One process, one thread, CPU time; all take turns, a step
each, in an order drawn for every round; a ratio is the median of the rounds' ratios. The rounds
are shared out over `--builds` of all loops: where its tensors lie makes one faster or slower for
as long as it lasts. The control is the denominator against itself in the same rounds: where its
noise is half as large as the distance to the goal or larger, the goal is "not resolved", whatever
the ratio.
"""

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from costs import grow, memory_ratio, race_loaders, race_sweep
from overhead import race_overhead
from races import GOALS, ON_GPU, PAIRS, STAND_IN, Pair, Raced, race_pair
from turns import Found, shares

from potstill.atomic import write_atomically
from potstill.libraries import quiet
from potstill.measure.host import machine
from potstill.training.precision import has_matrix_units

COLUMNS = ("of", "what", "found", "quartiles", "control", "goal", "verdict")
SIZES = (5_000, 50_000, 500_000)


def measure(given: argparse.Namespace, folder: Path) -> dict[str, Raced]:
    """Return every measurement that the arguments name, by its subject."""
    found: dict[str, Raced] = {}
    matrix_units = has_matrix_units(torch.device("cpu"))
    more = [*given.set, ON_GPU] if given.gpu else given.set
    steps, batches, sizes = (2, 1, (256, 512)) if given.quick else (50, 4, SIZES)
    rounds = shares(given.rounds, given.builds)
    if "overhead" in given.only:
        found["overhead"] = race_overhead(rounds, steps, folder, given.set)
        _say("overhead")
    if "loaders" in given.only:
        found["loaders"] = Raced(race_loaders(given.rounds, batches, sizes), {})
        _say("loaders")
    for name, pair in _pairs(given):
        goals = GOALS if given.gpu else pair.goals(matrix_units)
        found[name] = race_pair(pair, rounds, folder / name, goals, more)
        _say(name)
    if "sweep" in given.only:
        length = 2 if given.quick else 12
        found["sweep"] = race_sweep(folder / "sweep", length, epochs=2, quick=given.quick)
        _say("sweep")
    if "memory" in given.only:
        found["memory"] = Raced({"online/alone": memory_ratio(given.quick)}, {})
        _say("memory")
    return found


def _pairs(given: argparse.Namespace) -> Iterator[tuple[str, Pair]]:
    for name, pair in PAIRS.items():
        if name in given.only:
            yield name, STAND_IN if given.quick else pair


def _say(what: str) -> None:
    print(f"{what}: done after {time.process_time():.0f} s of CPU time", file=sys.stderr)


def table(found: dict[str, Raced]) -> str:
    """Return the numbers as a Markdown table, and beside it what makes them comparable."""
    lines = [f"| {' | '.join(COLUMNS)} |", f"|{'---|' * len(COLUMNS)}"]
    for of, raced in found.items():
        lines += [_row(of, what, number) for what, number in raced.ratios.items()]
    for of, raced in found.items():
        steps = ", ".join(f"{name} {ms:.4g}" for name, ms in raced.milliseconds.items())
        facts = ", ".join(f"{name} {value:.3g}" for name, value in raced.facts.items())
        lines += [f"\n{of}: milliseconds a step: {steps}"] if steps else []
        lines += [f"{of}: {facts}"] if facts else []
    return "\n".join(lines)


def _row(of: str, what: str, found: Found) -> str:
    low, high = found.quartiles
    goal = "" if found.goal is None else f"{found.goal:.2f}"
    control = "" if found.control is None else f"{found.control:.3f}"
    cells = (of, what, f"{found.value:.3f}", f"{low:.3f} to {high:.3f}", control, goal)
    return f"| {' | '.join((*cells, found.verdict))} |"


def facts(found: dict[str, Raced], given: argparse.Namespace) -> dict[str, Any]:
    """Return the numbers as plain values, with what they were measured on."""
    pairs = {name: raced for name, raced in found.items() if name in PAIRS}
    overhead = found.get("overhead", Raced({}, {})).ratios.get("overhead_ms")
    return {
        "ratios": {
            name: {what: number.value for what, number in raced.ratios.items()}
            for name, raced in pairs.items()
        },
        "control": {
            of: {what: number.control for what, number in raced.ratios.items()}
            for of, raced in found.items()
        },
        "overhead_ms": None if overhead is None else overhead.value,
        "machine": machine() | {"matrix_units": has_matrix_units(torch.device("cpu"))},
        "rounds": given.rounds,
        "builds": given.builds,
        "quick": given.quick,
        "settings": given.set,
        "gpu": given.gpu,
        "all": {
            of: asdict(raced) | {"verdicts": {w: n.verdict for w, n in raced.ratios.items()}}
            for of, raced in found.items()
        },
    }


def main(arguments: list[str] | None = None) -> None:
    """Measure, print, and write what the arguments name."""
    parts = ("overhead", "loaders", *PAIRS, "sweep", "memory")
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=9, help="turns of each loop, 2 or more")
    parser.add_argument("--builds", type=int, default=3, help="how often the loops are rebuilt")
    parser.add_argument("--only", nargs="+", choices=parts, metavar="PART")
    parser.add_argument("--gpu", action="store_true", help="the pairs alone, on a GPU")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE")
    parser.add_argument("--json", type=Path, metavar="FILE")
    parser.add_argument("--quick", action="store_true", help="see that it runs, not how fast")
    parser.add_argument("--memory", help=argparse.SUPPRESS)  # the child that memory_ratio starts
    given = parser.parse_args(arguments)
    if min(given.rounds, given.builds) < 1:
        parser.error("--rounds, --builds: 1 or more of each")
    if given.gpu and not torch.cuda.is_available():
        parser.error("--gpu: torch finds no CUDA device here")
    if given.gpu and given.only and not set(given.only) <= set(PAIRS):
        parser.error(f"--gpu: only {' and '.join(PAIRS)} are raced there")
    given.only = given.only or (tuple(PAIRS) if given.gpu else parts)
    given.rounds = min(given.rounds, 2) if given.quick else given.rounds
    torch.set_num_threads(1)
    quiet()
    with tempfile.TemporaryDirectory() as folder:
        if given.memory:
            pair = STAND_IN if given.quick else PAIRS["resnet50_resnet18"]
            print(grow(given.memory, pair, Path(folder)))
            return
        found = measure(given, Path(folder))
    print(table(found))
    if given.quick:
        print("\n--quick: no number and no verdict above means anything")
    if given.json:
        write_atomically(given.json, json.dumps(facts(found, given), indent=2) + "\n")


if __name__ == "__main__":
    main()
