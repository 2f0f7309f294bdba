"""ExecuTorch runtime of `.pte` files."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from potstill.errors import DataError
from potstill.export.runtimes.base import Runtime, as_images, check_file, parsed
from potstill.libraries import native_stderr, need, quiet_libraries
from potstill.libraries.executorch import set_threads


class ExecuTorch(Runtime):
    """Run a file's `forward`, in batches as large as it takes.

    Args:
        path: the file.
        threads: to compute on; ExecuTorch has one pool of threads for the whole process, so the
            last file opened decides for all.

    Attributes:
        largest_batch: images that the file takes at once.

    Raises:
        ConfigError: if executorch is not installed.
        DataError: if the file is missing or damaged.
    """

    name = "ExecuTorch"

    def __init__(self, path: str | Path, threads: int = 1) -> None:
        self.path = check_file(path)
        with native_stderr() as captured, quiet_libraries():
            runtime = need("executorch.runtime", "runtime=executorch")
            bindings = need("executorch.extension.pybindings.portable_lib", "runtime=executorch")
            set_threads(bindings, threads)
            failure = self._load(runtime.Runtime.get())
        if failure is not None:
            raise DataError(
                f"path={path}: ExecuTorch cannot run it ({captured.reason or failure}). "
                "Fix: export it again"
            ) from failure
        self.largest_batch = self.forward.metadata.input_tensor_meta(0).sizes()[0]

    def _load(self, runtime: Any) -> Exception | None:
        try:
            # The bytes, not the path: a mapped file must not change while it is in use.
            self.program = runtime.load_program(self.path.read_bytes())
            self.forward = self.program.load_method("forward")
        except (RuntimeError, KeyError) as error:
            return error
        return None

    def __call__(self, images: Tensor | np.ndarray) -> Tensor:
        """Return logits (N, K) of images (N, C, H, W)."""
        parts = as_images(images).split(self.largest_batch)
        with native_stderr() as captured:
            try:
                return torch.cat([self.forward.execute([part])[0] for part in parts])
            except RuntimeError as error:
                failure = error
        raise DataError(
            f"path={self.path}: ExecuTorch cannot run it on images {tuple(parts[0].shape)} "
            f"({captured.reason or failure}). Fix: images as the file describes, or export again"
        ) from failure

    def bind(self, images: Tensor) -> Callable[[], Any]:
        """Return the call of `forward` on images (N, C, H, W); DataError if they are too many."""
        if len(images) > self.largest_batch:
            raise DataError(f"at most {self.largest_batch} at once")
        given = [as_images(images)]
        return lambda: self.forward.execute(given)

    @property
    def facts(self) -> Mapping[str, Any]:
        """The facts in the file's `preprocess`, and its input's shape."""
        sizes = self.forward.metadata.input_tensor_meta(0).sizes()[1:]
        try:
            text = self.text("preprocess")
        except (RuntimeError, KeyError, ValueError):  # written by somebody else
            text = ""
        return {"image_shape": list(sizes)} | parsed(text, self.path)

    @classmethod
    def import_library(cls) -> None:
        """Import ExecuTorch."""
        need("executorch.runtime", "runtime=executorch")

    def text(self, name: str) -> str:
        """Return a text that the file carries, such as `preprocess`."""
        return self.program.load_method(name).execute([])[0]
