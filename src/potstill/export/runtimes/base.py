"""Interface of runtimes: a file in, a callable from images to logits out."""

import importlib
import io
import logging
import os
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from potstill.errors import ConfigError, DataError

TALKATIVE = ("torch", "torch.export", "torch.onnx", "executorch", "onnxscript", "onnx_ir", "root")
CHATTER = ("[cpuinfo", "[threadpool")


class Runtime(Protocol):
    """Runs one exported file."""

    name: str

    def __call__(self, images: Tensor | np.ndarray) -> Tensor:
        """Return logits (N, K) float32 of images (N, C, H, W), preprocessed as in training."""


def as_images(images: Tensor | np.ndarray) -> Tensor:
    """Return images (N, C, H, W) float32, channels first in memory too, on the CPU."""
    return torch.as_tensor(images).detach().to("cpu", torch.float32).contiguous()


def need(module: str, key: str, extra: str = "export") -> Any:
    """Return a library that only an extra installs.

    Raises:
        ConfigError: if it is not installed; `key` is the setting to name.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise ConfigError(
            f"{key}: needs {module.partition('.')[0]}, which cannot be imported ({error}). "
            f"Fix: pip install 'potstill[{extra}]'"
        ) from error


def check_file(path: str | Path) -> Path:
    """Return the path of a file that is there.

    Raises:
        DataError: if it is not.
    """
    file = Path(path).expanduser()
    if not file.is_file():
        raise DataError(f"path={path}: no such file. Fix: a file that was exported")
    return file


class Heard:
    """What a library wrote to standard error."""

    text = ""

    @property
    def reason(self) -> str:
        """The first line that says what went wrong, or nothing."""
        lines = [line for line in self.text.splitlines() if not line.startswith(CHATTER)]
        return lines[0].strip() if lines else ""


@contextmanager
def native_stderr() -> Iterator[Heard]:
    """Catch what C++ code writes to standard error, which no logger reaches.

    ExecuTorch says there why a file does not load, and chatters about the processor.
    """
    heard, kept = Heard(), os.dup(2)
    with tempfile.TemporaryFile() as file:
        os.dup2(file.fileno(), 2)
        writer = io.TextIOWrapper(file, write_through=True)
        try:
            with redirect_stderr(writer):  # bindings may write to Python's own, too
                yield heard
        finally:
            os.dup2(kept, 2)
            os.close(kept)
            writer.detach()
            file.seek(0)
            heard.text = file.read().decode(errors="replace")


@contextmanager
def quiet_libraries() -> Iterator[None]:
    """Keep the warnings that converters and readers cause in other libraries off the terminal."""
    levels = {name: logging.getLogger(name).level for name in TALKATIVE}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for name in levels:
            logging.getLogger(name).setLevel(logging.CRITICAL)
        try:
            yield
        finally:
            for name, level in levels.items():
                logging.getLogger(name).setLevel(level)
