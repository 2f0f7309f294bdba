"""OpenVINO runtime of `.xml` files, each with its weights in a `.bin` beside it."""

from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from potstill.errors import DataError
from potstill.export.runtimes.base import Runtime, as_images, check_file, parsed
from potstill.libraries import need

KEY, EXTRA = "runtime=openvino", "openvino"
PREPROCESS = ["potstill", "preprocess"]  # where an IR holds what describe_file returns
WEIGHTS = ".bin"


class OpenVino(Runtime):
    """Run a file on the CPU.

    Args:
        path: the `.xml` file.
        threads: to compute on.

    Raises:
        ConfigError: if openvino is not installed.
        DataError: if either file is missing or damaged.
    """

    name = "OpenVINO"

    def __init__(self, path: str | Path, threads: int = 1) -> None:
        self.path, library = check_file(path), need("openvino", KEY, EXTRA)
        beside = self.path.with_suffix(WEIGHTS)
        if not beside.is_file():
            raise DataError(
                f"path={path}: its weights are missing, {beside.name} is not beside it. "
                "Fix: both files in one folder"
            )
        core = library.Core()
        # Read, not mapped: a mapped file must not change while it is in use.
        core.set_property({"ENABLE_MMAP": False})
        try:
            self.model = core.read_model(self.path)
            self.compiled = core.compile_model(self.model, "CPU", _settings(threads))
        except Exception as error:  # the library raises RuntimeError for whatever is wrong
            raise DataError(
                f"path={path}: OpenVINO cannot run it ({last_line(error)}). Fix: export it again"
            ) from error

    def __call__(self, images: Tensor | np.ndarray) -> Tensor:
        """Return logits (N, K) of images (N, C, H, W)."""
        return torch.from_numpy(self.compiled(as_images(images).numpy())[0].copy())

    def bind(self, images: Tensor) -> Callable[[], Any]:
        """Return a request's own call on images (N, C, H, W)."""
        request, given = self.compiled.create_infer_request(), [as_images(images).numpy()]
        return lambda: request.infer(given, share_inputs=True)

    @property
    def facts(self) -> Mapping[str, Any]:
        """The facts in the file's runtime information, and its input's shape."""
        sizes = self.model.input(0).partial_shape[1:]
        known = {"image_shape": [size.get_length() for size in sizes]} if sizes.is_static else {}
        if not self.model.has_rt_info(PREPROCESS):  # written by somebody else
            return known
        return known | parsed(self.model.get_rt_info(PREPROCESS).astype(str), self.path)

    @classmethod
    def files(cls, path: Path) -> tuple[Path, ...]:
        """Return the file and its weights."""
        return (path, path.with_suffix(WEIGHTS))

    @classmethod
    def import_library(cls) -> None:
        """Import OpenVINO, and have it load what runs on the CPU."""
        need("openvino", KEY, EXTRA).Core().get_property("CPU", "FULL_DEVICE_NAME")

    def executed(self) -> dict[tuple[str, str], int]:
        """Return how often each kind of layer runs in each type, ("Convolution", "u8") for int8."""
        nodes = [node.get_rt_info() for node in self.compiled.get_runtime_model().get_ops()]
        keys = ("layerType", "runtimePrecision")
        return dict(Counter(tuple(node[key].astype(str) for key in keys) for node in nodes))


def last_line(error: Exception) -> str:
    """Return what OpenVINO says is wrong, which comes after where in its sources it was found."""
    lines = [line.strip() for line in str(error).splitlines()]
    said = [line for line in lines if line and not line.startswith(("Exception from", "Check '"))]
    return said[-1] if said else type(error).__name__


def _settings(threads: int) -> dict[str, Any]:
    # On processors that have bfloat16 it would compute float32 networks in it.
    precise = {"INFERENCE_PRECISION_HINT": "f32"}
    # A thread tied to a core would share it with whatever else was put there.
    free = {"INFERENCE_NUM_THREADS": threads, "NUM_STREAMS": 1, "ENABLE_CPU_PINNING": False}
    return precise | free
