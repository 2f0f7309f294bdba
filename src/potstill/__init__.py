"""Distil, prune, quantize, export and verify image classifiers.

Any `torch.nn.Module` from images (N, C, H, W) to logits (N, K) will do. At a prompt:

    >>> import potstill
    >>> from torch import nn, rand
    >>> def network(width):
    ...     first = nn.Conv2d(3, width, 4, 4), nn.BatchNorm2d(width), nn.ReLU()
    ...     return nn.Sequential(*first, nn.Flatten(), nn.Linear(64 * width, 10))
    >>> student, shape = network(16), (3, 32, 32)

Distil it, under any Lightning Trainer: `Trainer(max_epochs=10).fit(module, potstill.Digits())`.

    >>> heads = {"kd": potstill.KD(temperature=4.0)}
    >>> module = potstill.DistillationModule(student, network(64), heads, alpha=0.9)

Take channels out until half of the multiply-accumulates are left, then quantize to int8:

    >>> criterion, target = potstill.L2Magnitude(), potstill.Target(macs=0.5)
    >>> pruned = potstill.prune_channels(student, shape, criterion, target)
    >>> int8 = potstill.convert(potstill.quantize_static(student, [rand(8, *shape)]))
    >>> potstill.measure_network(int8, shape)["size_bytes"] < 60_000
    True

A run from the command line, `potstill experiment=compress_digits`, leaves files: `load_artifact`
gives a network back, `open_file` one of any format with the labels and the preprocessing in it.

`potstill.__all__` lists the names; each is imported when it is first used, torch with it.
"""

import ast
import importlib
from pathlib import Path
from typing import Any

__version__ = "0.1.0"


def _places() -> dict[str, str]:
    """Return the module of each public name: the imports of the stub beside this file."""
    stub = ast.parse(Path(__file__).with_suffix(".pyi").read_text("utf-8"))
    imports = [node for node in stub.body if isinstance(node, ast.ImportFrom)]
    return {alias.name: node.module or "" for node in imports for alias in node.names}


_PLACES = _places()
__all__ = sorted(_PLACES)


def __getattr__(name: str) -> Any:
    if name not in _PLACES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(_PLACES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return [*__all__, "__all__", "__doc__", "__version__"]
