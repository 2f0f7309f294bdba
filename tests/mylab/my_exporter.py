"""ONNX files for ONNX's own reference evaluator, in NumPy."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from onnx.reference import ReferenceEvaluator
from torch import Tensor, nn

from potstill.export.formats import FileExporter
from potstill.export.onnx import Onnx
from potstill.export.runtimes.base import Runtime, as_images, parsed


class Reference(Runtime):
    """ONNX's reference evaluator."""

    name = "ONNX reference"

    def __init__(self, path: Path, threads: int = 1) -> None:
        self.evaluator = ReferenceEvaluator(str(path))

    def __call__(self, images: Tensor | np.ndarray) -> Tensor:
        """Return logits (N, K) of images (N, C, H, W)."""
        feed = {self.evaluator.input_names[0]: as_images(images).numpy()}
        return torch.from_numpy(self.evaluator.run(None, feed)[0])

    @property
    def facts(self) -> Mapping[str, Any]:
        """What the exporter wrote into the file."""
        texts = {entry.key: entry.value for entry in self.evaluator.proto_.metadata_props}
        return parsed(texts["preprocess"])


class ReferenceFile(FileExporter):
    """Write what ONNX's reference evaluator runs."""

    suffix, engine, runtime = ".onnxref", "onnxref", Reference

    def content(self, network: nn.Module, images: Tensor, facts: Mapping[str, Any]) -> bytes:
        """Return the ModelProto as bytes."""
        return Onnx().content(network, images, facts)
