"""A network on one thread in PyTorch and in the runtimes installed, float32 and int8.

`python benchmarks/inference.py` prints a Markdown table of ResNet-18 at 224 pixels; `--network`
chooses another, `--engines` some of ONNX Runtime, ExecuTorch, LiteRT and OpenVINO. `--json FILE`
keeps the numbers as well, `--quick` tries everything with images and rounds too few to measure.

All take turns in one process, a call each a round; a ratio is one of medians. "Pruned" has half
the channels, and so a quarter of the MACs. Weights are random, and ranges of activations are those
of random images: the numbers are of time and size, not of accuracy. A row whose median is over
1.5 times its minimum is noisy, and so is a ratio with such a row in it. Without VNNI a processor
of the x86 family multiplies bytes hardly faster than floats.
"""

import argparse
import copy
import importlib.util
import json
import os
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from potstill.atomic import write_atomically
from potstill.benchmark.open_file import open_file
from potstill.benchmark.tables import host_line
from potstill.export.base import Exporter
from potstill.export.executorch import Pte
from potstill.export.litert import TfLite
from potstill.export.onnx import Onnx
from potstill.export.openvino import OpenVinoIr
from potstill.measure.counts import count_macs, size_bytes
from potstill.measure.host import cpu_features, machine
from potstill.measure.latency import Timing, interleaved, one_thread
from potstill.models.cifar_resnet import cifar_resnet
from potstill.models.torchvision import torchvision_model
from potstill.pruning.channels.criteria.l2_magnitude import L2Magnitude
from potstill.pruning.channels.prune import prune_channels
from potstill.pruning.channels.target import Target
from potstill.quantization.convert import convert
from potstill.quantization.post_training import quantize_static

CLASSES, COUNT = 1000, 8
COLUMNS = ("network", "engine", "MB", "GMACs", "median, ms", "minimum, ms", "p95, ms", "")
ENGINES = {  # and the library of each
    "ONNX Runtime": "onnxruntime",
    "ExecuTorch": "executorch",
    "LiteRT": "litert_torch",
    "OpenVINO": "openvino",
}
NETWORKS = {  # and the side of their images in pixels
    "resnet18": 224,
    "mobilenet_v2": 224,
    "cifar_resnet20": 32,
}
# At least so many times as fast as float32 in the same engine, where the processor has VNNI.
GOALS = {"int8": 2.5, "pruned int8": 8.0}
LARGEST_MB = 3.3  # of "pruned int8"
VNNI = {"avx512_vnni", "avx_vnni", "amx_int8", "dot", "i8mm"}  # or what is like it


@dataclass(frozen=True)
class Contestant:
    """A network in an engine: what does not change from turn to turn, and the turn."""

    network: str
    engine: str
    num_bytes: int
    macs: int
    call: Callable[[], Any]


def build(name: str, size: int) -> dict[str, nn.Module]:
    """Return the four networks, dense and pruned, in float32 and in int8."""
    torch.manual_seed(0)
    images = torch.randn(COUNT, 3, size, size)
    if name.startswith("cifar_resnet"):
        dense = cifar_resnet(int(name.removeprefix("cifar_resnet")), CLASSES)
    else:
        dense = torchvision_model(name, CLASSES, stem="imagenet", image_size=size)
    pruned = copy.deepcopy(dense)
    prune_channels(pruned, (3, size, size), L2Magnitude(), Target(ratio=0.5))
    networks = {"float32": settled(dense, images), "pruned float32": settled(pruned, images)}
    integers = {
        name.replace("float32", "int8"): convert(quantize_static(network, [images]))
        for name, network in networks.items()
    }
    return networks | integers


@torch.no_grad()
def settled(network: nn.Module, images: Tensor) -> nn.Module:
    """Give batch-norms the statistics of the images, without which random networks explode."""
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = None  # an average over all batches
    for _ in range(2):
        network.train()(images)
    return network.eval()


def installed() -> list[str]:
    """Return the engines whose libraries are here."""
    return [engine for engine, library in ENGINES.items() if importlib.util.find_spec(library)]


def contestants(
    networks: dict[str, nn.Module], engines: list[str], size: int, folder: Path
) -> Iterator[Contestant]:
    """Yield each network in each engine that computes it in its own arithmetic."""
    shape = (3, size, size)
    one, images = torch.zeros(1, *shape), torch.randn(COUNT, *shape)
    facts = {"class_names": [f"class{k}" for k in range(CLASSES)], "image_shape": list(shape)}
    for name, network in networks.items():
        macs = count_macs(network, shape) or 0
        if "int8" not in name:  # PyTorch computes integers by way of floats
            yield Contestant(name, "eager", size_bytes(network) or 0, macs, eager(network, one))
        for engine in engines:
            stem = folder / name.replace(" ", "-")
            done = exporter(engine)(network, stem, images, facts)
            yield Contestant(name, engine, done.bytes, macs, open_file(done.path).bind(one))


def exporter(engine: str) -> Exporter:
    """Return what writes for an engine; ONNX Runtime's weights are those best for the processor."""
    if engine == "ONNX Runtime":
        return Onnx(weights="int8" if VNNI & set(cpu_features()) else "uint8")
    return {"LiteRT": TfLite, "OpenVINO": OpenVinoIr}.get(engine, lambda: Pte(largest_batch=1))()


def eager(network: nn.Module, image: Tensor) -> Callable[[], Any]:
    """Return the call of a network in PyTorch."""

    def call() -> None:
        with torch.inference_mode():
            network(image)

    return call


def ratios(found: dict[tuple[str, str], Timing], megabytes: dict[str, float]) -> list[str]:
    """Return a sentence for each goal: what it came to, and whether that says anything."""
    lines = []
    for name, goal in GOALS.items():
        for engine in megabytes:
            slow, fast = found["float32", engine], found[name, engine]
            times = slow.median / fast.median
            noise = " (noisy)" if slow.noisy or fast.noisy else ""
            lines.append(
                f"{name}, {engine}: {times:.2f} times as fast as float32{noise}, "
                f"{found['float32', 'eager'].median / fast.median:.2f} times as fast as eager; "
                f"with VNNI the goal is {goal}"
            )
    size = ", ".join(f"{engine} {size:.2f} MB" for engine, size in megabytes.items())
    return [*lines, f"pruned int8: {size}; the goal is at most {LARGEST_MB}"]


def table(racing: list[Contestant], found: dict[tuple[str, str], Timing]) -> str:
    """Return the Markdown table."""
    lines = [f"| {' | '.join(COLUMNS)} |", f"|{'---|' * len(COLUMNS)}"]
    for each in racing:
        timing = found[each.network, each.engine]
        p95 = "" if timing.p95 is None else f"{timing.p95:.2f}"
        numbers = (f"{each.num_bytes / 1e6:.2f}", f"{each.macs / 1e9:.3f}")
        times = (f"{timing.median:.2f}", f"{timing.minimum:.2f}", p95)
        mark = "noisy" if timing.noisy else ""
        lines.append(f"| {' | '.join((each.network, each.engine, *numbers, *times, mark))} |")
    return "\n".join(lines)


def facts(
    racing: list[Contestant], found: dict[tuple[str, str], Timing], given: argparse.Namespace
) -> dict[str, Any]:
    """Return the numbers as plain values, without what they rest on."""
    rows = []
    for each in racing:
        timing = found[each.network, each.engine]
        plain = {key: value for key, value in vars(each).items() if key != "call"}
        rows.append({**plain, **timing._asdict(), "noisy": timing.noisy})
    asked = {"network": given.network, "size": given.size, "quick": given.quick}
    return {"rows": rows, **asked, "threads": 1}


def main(arguments: list[str] | None = None) -> None:
    """Measure, print, and write what was asked for."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=60, help="calls of each, 3 or more")
    parser.add_argument("--network", choices=NETWORKS, default="resnet18")
    parser.add_argument("--engines", nargs="+", choices=ENGINES, default=installed())
    parser.add_argument("--size", type=int, help="pixels; what suits the network by default")
    parser.add_argument("--json", type=Path, metavar="FILE")
    parser.add_argument("--quick", action="store_true", help="see that it runs, not how fast")
    given = parser.parse_args(arguments)
    given.size = given.size or NETWORKS[given.network]
    if given.quick:
        given.size, given.rounds = 32, 3
    with tempfile.TemporaryDirectory() as folder, one_thread():
        networks = build(given.network, given.size)
        racing = list(contestants(networks, given.engines, given.size, Path(folder)))
        before = os.getloadavg()[0]
        calls = {(each.network, each.engine): each.call for each in racing}
        found = interleaved(calls, given.rounds, warmup=5)
        host = machine() | {"load": [before, os.getloadavg()[0]]}
    sizes = {each.engine: each.num_bytes / 1e6 for each in racing if each.network == "pruned int8"}
    verdicts = ratios(found, sizes) if given.network == "resnet18" else []  # its goals
    print(table(racing, found), "", *verdicts, host_line(host), sep="\n")
    if not VNNI & set(cpu_features()):
        print("This processor has no VNNI; the goals of speed are for those that have it.")
    if given.quick:
        print("\n--quick: no number above means anything")
    if given.json:
        record = facts(racing, found, given) | {"machine": host, "said": verdicts}
        write_atomically(given.json, json.dumps(record, indent=2) + "\n")


if __name__ == "__main__":
    main()
