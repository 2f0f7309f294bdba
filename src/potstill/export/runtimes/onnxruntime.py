"""ONNX Runtime of `.onnx` files."""

import collections
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from potstill.errors import DataError
from potstill.export.runtimes.base import Runtime, as_images, check_file, parsed
from potstill.libraries import need


class OnnxRuntime(Runtime):
    """Run a file on the CPU provider.

    Args:
        path: the file.
        threads: to compute on.

    Raises:
        ConfigError: if onnxruntime is not installed.
        DataError: if the file is missing or damaged.
    """

    name = "ONNX Runtime"

    def __init__(self, path: str | Path, threads: int = 1) -> None:
        self.path = check_file(path)
        self.session = self._open(threads)
        self.input = self.session.get_inputs()[0].name

    def __call__(self, images: Tensor | np.ndarray) -> Tensor:
        """Return logits (N, K) of images (N, C, H, W)."""
        return torch.from_numpy(self.session.run(None, {self.input: as_images(images).numpy()})[0])

    def bind(self, images: Tensor) -> Callable[[], Any]:
        """Return the session's own call on images (N, C, H, W)."""
        feed = {self.input: as_images(images).numpy()}
        return lambda: self.session.run(None, feed)

    @property
    def facts(self) -> Mapping[str, Any]:
        """The facts in the file's metadata, and its input's shape."""
        texts = self.session.get_modelmeta().custom_metadata_map
        sizes = self.session.get_inputs()[0].shape[1:]
        known = {"image_shape": sizes} if all(isinstance(size, int) for size in sizes) else {}
        return known | parsed(texts.get("preprocess", ""), self.path)

    @classmethod
    def import_library(cls) -> None:
        """Import ONNX Runtime."""
        need("onnxruntime", "runtime=onnxruntime")

    def executed(self) -> dict[str, int]:
        """Return how often each operator is run, once the runtime has fused what it can.

        Integer convolutions are `QLinearConv` here, and floating-point ones `Conv`.
        """
        onnx = need("onnx", "runtime=onnxruntime")
        with tempfile.TemporaryDirectory() as folder:
            file = str(Path(folder, "executed.onnx"))
            self._open(1, optimized_model_filepath=file)
            nodes = onnx.load(file).graph.node
        return dict(collections.Counter(node.op_type for node in nodes))

    def _open(self, threads: int, **settings: Any) -> Any:
        runtime = need("onnxruntime", "runtime=onnxruntime")
        options = runtime.SessionOptions()
        options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
        options.log_severity_level = 4  # what fails is raised as well
        for name, value in settings.items():
            setattr(options, name, value)
        try:
            return runtime.InferenceSession(
                str(self.path), options, providers=["CPUExecutionProvider"]
            )
        except Exception as error:  # the runtime's own exceptions share no class
            reason = str(error).strip().splitlines()[0]
            raise DataError(
                f"path={self.path}: ONNX Runtime cannot run it ({reason}). Fix: export it again"
            ) from error
