"""PyTorch runtime of networks and `.pt2` files."""

import io
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from potstill.errors import DataError
from potstill.export.runtimes.base import Runtime, as_images, check_file, parsed
from potstill.libraries import quiet_libraries
from potstill.models.features.trace import in_eval_mode

BATCH = 64


class Eager(Runtime):
    """Run a network in eval mode on the CPU.

    Args:
        network: what to run.
        threads: to compute on.
    """

    name = "PyTorch"
    network: nn.Module

    def __init__(self, network: nn.Module, threads: int = 1) -> None:
        self.network, self.threads = network, threads

    @torch.no_grad()
    def __call__(self, images: Tensor | np.ndarray) -> Tensor:
        """Return logits (N, K) of images (N, C, H, W)."""
        threads = torch.get_num_threads()
        torch.set_num_threads(self.threads)
        try:
            with in_eval_mode(self.network):
                return torch.cat([self.network(part) for part in as_images(images).split(BATCH)])
        finally:
            torch.set_num_threads(threads)

    def bind(self, images: Tensor) -> Callable[[], Any]:
        """Return the network's own call on images (N, C, H, W)."""

        def call() -> None:
            with torch.inference_mode():
                self.network(images)

        return call


class TorchExport(Eager):
    """Run a `.pt2` file of torch.export.

    PyTorch's reader may unpickle what such a file holds, which can run code: open only files
    from a source you trust.

    Args:
        path: the file.
        threads: to compute on.

    Raises:
        DataError: if it is missing or damaged.
    """

    name = "torch.export"

    def __init__(self, path: str | Path, threads: int = 1) -> None:
        file = check_file(path)
        try:
            with quiet_libraries():
                network = torch.export.load(file).module()
        except Exception as error:  # a damaged archive can raise nearly anything
            raise DataError(
                f"path={path}: PyTorch cannot read it ({error}). Fix: export it again"
            ) from error
        super().__init__(network, threads)
        self.path = file

    @property
    def facts(self) -> Mapping[str, Any]:
        """The facts in the archive's preprocess.json."""
        try:
            with zipfile.ZipFile(self.path) as archive:
                name = next(n for n in archive.namelist() if n.endswith("/extra/preprocess.json"))
                return parsed(archive.read(name).decode(), self.path)
        except (StopIteration, zipfile.BadZipFile):
            return {}

    @classmethod
    def import_library(cls) -> None:
        """Have torch.export import the thousand modules that its reader needs."""
        file = io.BytesIO()
        torch.export.save(torch.export.export(nn.ReLU(), (torch.zeros(1),)), file)
        torch.export.load(io.BytesIO(file.getvalue()))
