"""Arguments of `potstill measure`, checked before anything slow is imported."""

import argparse
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NoReturn

from potstill.config.location import conf_folder
from potstill.errors import ConfigError

TEXT = """Measure what files cost and how right they are, each in the engine that runs it.

A file is an artifact of a run (NAME.safetensors, in PyTorch), .onnx (ONNX Runtime),
.pte (ExecuTorch), .tflite (LiteRT), .xml (OpenVINO) or .pt2 (torch.export). What is
not measured stays blank.

  size        of the file (.xml: with its .bin), and gzipped at level 9
  parameters  weights and biases, and MACs for one image: of what PyTorch can read
  memory      the peak of a fresh process above its start with the libraries
              imported: weights, activations, the engine's arenas; one image
  latency     of the engine's own call on one batch, files in turn in each round;
              "noisy" where the median is over 1.5 times the minimum; blank for
              integers in PyTorch, which computes them by way of floats
  corrupted   mean accuracy under the 15 corruptions of CIFAR-10-C at ImageNet-C's
              strengths: not to be compared with published CIFAR-10-C numbers"""
SHORTEST = 3  # rounds of which a median means something
SEVERITY = 3
ARTIFACT = ".safetensors"


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    """Return the arguments in `argv`.

    Raises:
        ConfigError: if they make no sense.
    """
    given = _parser().parse_args(argv)
    if given.rounds < SHORTEST:
        raise ConfigError(f"--rounds={given.rounds}: too few. Fix: {SHORTEST} or more")
    if given.data is None:
        needy = {"--set": given.set, "--teacher": given.teacher, "--robust": given.robust}
        needy["--task"] = given.task
        for name in (name for name, value in needy.items() if value):
            raise ConfigError(f"{name}: has no effect without test images. Fix: --data NAME")
    if given.severity is not None and not given.robust:
        raise ConfigError(f"--severity={given.severity}: nothing is corrupted. Fix: --robust")
    if given.engines and all(file.suffix != ARTIFACT for file in given.files):
        raise ConfigError("--engines: no file is an artifact, only they can choose. Fix: leave out")
    return given


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="potstill measure",
        description=TEXT,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("files", metavar="FILE", nargs="+", type=Path)
    add("--json", metavar="FILE", type=Path, help="write everything there as well")
    add("--threads", type=_listed(_threads), default=_default_threads(), metavar="1,all")
    add("--batch", type=_listed(_count), default=(1, 64), metavar="1,64")
    add("--rounds", type=int, default=50, help="timed calls of each, 50 by default")
    engines = (
        "of artifacts, eager by default; others export them first: onnxruntime, executorch, ..."
    )
    add("--engines", type=_listed(str), default=(), metavar="A,B", help=engines)
    add("--data", metavar="NAME", help="an option of conf/data, for accuracy: cifar10")
    add("--task", metavar="NAME", help="an option of conf/task, classification by default")
    add(
        "--set",
        action="append",
        default=[],
        metavar="data.KEY=VALUE",
        help="of that data, or task.KEY=VALUE",
    )
    configs = "where data/NAME.yaml is; potstill's own by default"
    add("--config-dir", type=Path, default=conf_folder(), metavar="DIR", help=configs)
    add("--teacher", type=Path, metavar="FILE", help="a file to agree with")
    add("--robust", action="store_true", help="also on corrupted images (pip extra: robust)")
    add("--severity", type=int, choices=range(1, 6), help="of corruptions, 3 by default")

    def refuse(message: str) -> NoReturn:
        raise ConfigError(f"{message}. Fix: potstill measure --help")

    parser.error = refuse  # type: ignore[method-assign]
    return parser


def _listed(read: Callable[[str], Any]) -> Callable[[str], tuple[Any, ...]]:
    return lambda text: tuple(dict.fromkeys(read(part) for part in text.split(",")))


def _count(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is no count from 1")
    return int(text)


def _threads(text: str) -> int:
    return _cores() if text == "all" else _count(text)


def _default_threads() -> tuple[int, ...]:
    return tuple(dict.fromkeys((1, _cores())))


def _cores() -> int:
    return os.cpu_count() or 1
