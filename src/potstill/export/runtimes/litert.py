"""LiteRT runtime of `.tflite` files."""

import re
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from potstill.errors import DataError
from potstill.export.runtimes.base import Runtime, as_images, check_file, parsed
from potstill.libraries import native_stderr, need

KEY, EXTRA = "runtime=litert", "litert"
PREPROCESS = "preprocess.json"  # in the archive that follows the model


class LiteRt(Runtime):
    """Run a file's first signature, an image at a time.

    Args:
        path: the file.
        threads: to compute on.

    Raises:
        ConfigError: if ai-edge-litert is not installed.
        DataError: if the file is missing or damaged.
    """

    name = "LiteRT"

    def __init__(self, path: str | Path, threads: int = 1) -> None:
        self.path = check_file(path)
        with native_stderr() as captured:
            library = need("ai_edge_litert.interpreter", KEY, EXTRA)
            try:
                # The bytes, not the path: a mapped file must not change while it is in use.
                self.interpreter = library.Interpreter(
                    model_content=self.path.read_bytes(), num_threads=threads
                )
                self.interpreter.allocate_tensors()
            except (ValueError, RuntimeError) as error:
                failure = error
            else:
                self.input = self.interpreter.get_input_details()[0]
                self.output = self.interpreter.get_output_details()[0]["index"]
                return
        why, fix = (str(failure).strip() or captured.reason).splitlines()[0], "export it again"
        if missing := re.search(r"Didn't find op for builtin opcode '(\w+)'", why):
            why, fix = f"it has no {missing[1]}", "another export, or a network without that layer"
        raise DataError(f"path={path}: LiteRT cannot run it ({why}). Fix: {fix}") from failure

    def __call__(self, images: Tensor | np.ndarray) -> Tensor:
        """Return logits (N, K) of images (N, C, H, W)."""
        found = [self._logits(image) for image in as_images(images).numpy()[:, None]]
        return torch.from_numpy(np.concatenate(found))

    def bind(self, images: Tensor) -> Callable[[], Any]:
        """Return the interpreter's own call on images (1, C, H, W); DataError for more of them."""
        if len(images) > 1:
            raise DataError("at most 1 at once")
        given = as_images(images).numpy()
        return lambda: self._logits(given)

    @property
    def facts(self) -> Mapping[str, Any]:
        """The facts in the archive after the model, and its input's shape."""
        known = {"image_shape": self.input["shape"][1:].tolist()}
        try:
            with zipfile.ZipFile(self.path) as archive:
                return known | parsed(archive.read(PREPROCESS).decode(), self.path)
        except (zipfile.BadZipFile, KeyError):  # written by somebody else
            return known

    @classmethod
    def import_library(cls) -> None:
        """Import LiteRT's interpreter."""
        need("ai_edge_litert.interpreter", KEY, EXTRA)

    def _logits(self, image: np.ndarray) -> np.ndarray:
        """Return logits (1, K) of an image (1, C, H, W)."""
        try:
            self.interpreter.set_tensor(self.input["index"], image)
        except ValueError as error:
            shape = tuple(self.input["shape"].tolist())
            raise DataError(
                f"path={self.path}: LiteRT takes {shape}, not {image.shape}. "
                "Fix: images as the file describes"
            ) from error
        self.interpreter.invoke()
        return self.interpreter.get_tensor(self.output)
