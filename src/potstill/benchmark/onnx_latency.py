"""Latency of several networks in ONNX Runtime, the engine they will be deployed in."""

import logging
import tempfile
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import nn

from potstill.errors import PotstillError
from potstill.export.base import to_export
from potstill.export.onnx import convert
from potstill.export.onnx_unsigned import unsigned_weights
from potstill.export.runtimes.onnxruntime import OnnxRuntime
from potstill.measure.latency import interleaved
from potstill.quantization.convert import is_converted, with_activations

ENGINE = "onnxruntime"
WARMUP, RUNS = 10, 100
log = logging.getLogger("potstill")


def in_onnxruntime(
    networks: Mapping[str, nn.Module], image_shape: Sequence[int]
) -> dict[str, dict[str, Any]]:
    """Return a row's latency columns for each network, one image on one thread of the CPU.

    Networks take turns, so that what slows the machine down slows them all. One that the engine
    cannot run, or an engine that is not installed, leaves its columns out.
    """
    with tempfile.TemporaryDirectory() as folder:
        opened = {}
        for name, network in networks.items():
            try:
                opened[name] = _open(network, image_shape, Path(folder, f"{name}.onnx"))
            except PotstillError as error:
                log.warning("%s: no latency in ONNX Runtime: %s", name, error)
        image = torch.zeros(1, *image_shape)
        calls = {name: partial(runtime, image) for name, runtime in opened.items()}
        times = interleaved(calls, RUNS, WARMUP)
    return {
        name: {
            "latency_ms": found.median,
            "latency_p95_ms": found.p95,
            "latency_engine": ENGINE,
        }
        for name, found in times.items()
    }


def _open(network: nn.Module, image_shape: Sequence[int], path: Path) -> OnnxRuntime:
    integer, network = is_converted(network), to_export(network)
    example = torch.zeros(1, *image_shape)
    model = convert(with_activations(network, "uint8") if integer else network, example)
    if integer:
        unsigned_weights(model)
    path.write_bytes(model.SerializeToString())
    return OnnxRuntime(path, threads=1)
