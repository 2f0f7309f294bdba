"""What each head costs beside plain KD: adapters, time and memory of a training step.

`python benchmarks/heads.py` prints a Markdown table; `--json FILE` keeps the numbers as well,
`--readme` puts the table between the markers of README.md.

A ResNet-56 teaches a ResNet-20 on images of 32 pixels, 100 classes, on one CPU thread. Heads
take turns, a step each, in an order that rotates; a round's CPU times are divided by that round's
time of KD, and the median over rounds is shown. KD takes part twice: what its second place shows
is the noise.

Memory is what lives between the forward and the backward pass, see `Step.num_bytes`.
"""

import argparse
import json
import platform
import re
import statistics
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from training_step import NUM_CLASSES, Step

from potstill.atomic import write_atomically
from potstill.heads.index import catalog
from potstill.models.cifar_resnet import cifar_resnet
from potstill.teacher.frozen import FrozenTeacher

ROOT = Path(__file__).parents[1]
MARKERS = ("<!-- heads -->", "<!-- /heads -->")
CONTROL = "kd again"


@dataclass
class Cost:
    """One head's row; time and memory are relative to KD's."""

    name: str
    method: str
    source: str
    views: int
    adapters: int
    time: float
    time_quartiles: tuple[float, float]
    memory: float


def measure(rounds: int, batch_size: int) -> list[Cost]:
    """Return the cost of every head in the catalog, and of the control, last."""
    torch.manual_seed(1)
    teacher = FrozenTeacher(cifar_resnet(56, NUM_CLASSES)).network
    entries = dict(catalog()) | {CONTROL: ""}
    heads = {name: "kd" if name == CONTROL else name for name in entries}
    steps = {name: Step(head, teacher, batch_size) for name, head in heads.items()}
    for step in steps.values():
        step.seconds()  # the first allocates momentum and fits margins
    times = take_turns(steps, rounds)
    memory = {name: step.num_bytes() for name, step in steps.items()}
    return [
        Cost(
            name,
            *described(entries[name]),
            views=steps[name].head.num_views,
            adapters=steps[name].num_adapter_parameters,
            time=statistics.median(times[name]),
            time_quartiles=quartiles(times[name]),
            memory=memory[name] / memory["kd"],
        )
        for name in entries
    ]


def take_turns(steps: dict[str, Step], rounds: int) -> dict[str, list[float]]:
    """Return the ratio to KD of every head in every round."""
    names, ratios = list(steps), {name: [] for name in steps}
    for turn in range(rounds):
        first = turn * len(names) // rounds
        seconds = {name: steps[name].seconds() for name in names[first:] + names[:first]}
        for name in names:
            ratios[name].append(seconds[name] / seconds["kd"])
        print(f"round {turn + 1}/{rounds}: {sum(seconds.values()):.1f} s", file=sys.stderr)
    return ratios


def quartiles(values: list[float]) -> tuple[float, float]:
    """Return the first and the third quartile."""
    first, _, third = statistics.quantiles(values, n=4)
    return first, third


def described(line: str) -> tuple[str, str]:
    """Return the method and the paper of a catalog line: `Method (authors year, arXiv:id).`."""
    method, _, paper = line.rstrip(".").rpartition(" (")
    linked = re.sub(r"arXiv:(\d+\.\d+)", r"[arXiv:\1](https://arxiv.org/abs/\1)", paper[:-1])
    return method, linked


def table(costs: list[Cost], rounds: int, batch_size: int) -> str:
    """Return the Markdown table and what it was measured with."""
    lines = [
        "| head | method | source | adapter parameters | step time | step memory |",
        "|---|---|---|---:|---:|---:|",
    ]
    control = costs[-1]
    for cost in costs[:-1]:
        views = f" ({cost.views} views)" if cost.views > 1 else ""
        adapters = f"{cost.adapters:,}" if cost.adapters else "none"
        numbers = f"{adapters} | {cost.time:.2f} | {cost.memory:.2f}"
        lines.append(f"| `{cost.name}`{views} | {cost.method} | {cost.source} | {numbers} |")
    low, high = control.time_quartiles
    lines += [
        "",
        f"Time and memory relative to `kd`. ResNet-56 teaches ResNet-20, {batch_size} images of "
        f"32 pixels, {NUM_CLASSES} classes, float32, one CPU thread, medians of {rounds} rounds; "
        f"`kd` measured a second time in the same rounds gives {control.time:.2f} (quartiles "
        f"{low:.2f} to {high:.2f}). Memory counts what lives between forward and backward pass, "
        "without the teacher's weights. `python benchmarks/heads.py` measures it again.",
    ]
    return "\n".join(lines)


def write_readme(text: str, readme: Path) -> None:
    """Put `text` between the markers of the README.

    Raises:
        SystemExit: if there are none.
    """
    before, start, rest = readme.read_text("utf-8").partition(MARKERS[0])
    _, end, after = rest.partition(MARKERS[1])
    if not start or not end:
        raise SystemExit(f"{readme}: no {' and '.join(MARKERS)}. Fix: write them where it goes")
    write_atomically(readme, f"{before}{start}\n{text}\n{end}{after}")


def main() -> None:
    """Measure, print, and write what the arguments name."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=21, help="steps of each head, 2 or more")
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--json", type=Path, metavar="FILE")
    parser.add_argument("--readme", action="store_true")
    given = parser.parse_args()
    torch.set_num_threads(1)
    costs = measure(given.rounds, given.batch)
    text = table(costs, given.rounds, given.batch)
    print(text)
    if given.json:
        write_atomically(given.json, json.dumps(facts(costs, given), indent=2) + "\n")
    if given.readme:
        write_readme(text, ROOT / "README.md")


def facts(costs: list[Cost], given: argparse.Namespace) -> dict[str, Any]:
    """Return the numbers and what they were measured with."""
    return {
        "torch": torch.__version__,
        "machine": platform.machine(),
        "rounds": given.rounds,
        "batch": given.batch,
        "heads": [asdict(cost) for cost in costs],
    }


if __name__ == "__main__":
    main()
