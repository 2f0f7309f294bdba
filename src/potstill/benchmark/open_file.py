"""Artifacts and exported files, each opened in the engine that runs it."""

import json
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from potstill.artifact.file import load_artifact
from potstill.errors import ConfigError, DataError
from potstill.export.runtimes.base import as_images
from potstill.export.runtimes.eager import Eager, TorchExport
from potstill.export.runtimes.executorch import ExecuTorch
from potstill.export.runtimes.onnxruntime import OnnxRuntime

Call = Callable[[], Any]


@dataclass(frozen=True)
class Opened:
    """A file in its engine.

    Attributes:
        path: the file.
        engine: "eager", "onnxruntime", "executorch" or "torch.export".
        logits: of images (N, C, H, W), for any N.
        bind: from images, the engine's own call on them and nothing else, for the clock;
            DataError where the file takes no such batch.
        network: where PyTorch computes it; None in other engines.
        facts: what the file says of itself: `mean`, `std`, `image_shape`, `class_names`.
    """

    path: Path
    engine: str
    logits: Callable[[Tensor], Tensor]
    bind: Callable[[Tensor], Call]
    network: nn.Module | None = None
    facts: Mapping[str, Any] = field(default_factory=dict)

    @property
    def image_shape(self) -> tuple[int, ...]:
        """The shape (C, H, W) of an image.

        Raises:
            DataError: if the file does not say.
        """
        shape = self.facts.get("image_shape")
        if not shape:
            raise DataError(
                f"{self.path}: does not say how large its images are. "
                "Fix: a file that was exported by potstill"
            )
        return tuple(shape)

    def refuses(self, images: Tensor, error: Exception, fix: str) -> DataError:
        """Return what to raise where the engine raised `error` on these images."""
        return _refuses(self.path, images, error, fix)


def open_file(path: Path, threads: int = 1) -> Opened:
    """Open a `.safetensors` artifact, or an `.onnx`, `.pte` or `.pt2` file.

    Raises:
        ConfigError: if the suffix is another, or the engine is not installed.
        DataError: if the file is missing or damaged.
    """
    if not path.is_file():
        raise DataError(f"{path}: no such file. Fix: the path of an artifact or an exported file")
    if path.suffix not in OPENERS:
        raise ConfigError(f"{path}: of no known kind. Fix: a file in {'|'.join(OPENERS)}")
    return OPENERS[path.suffix](path, threads)


def _artifact(path: Path, threads: int) -> Opened:
    network, artifact = load_artifact(path)
    return _in_torch(path, "eager", Eager(network, threads), artifact.facts)


def _pt2(path: Path, threads: int) -> Opened:
    return _in_torch(path, "torch.export", TorchExport(path, threads), _extra(path))


def _in_torch(path: Path, engine: str, runtime: Eager, facts: Mapping[str, Any]) -> Opened:
    network = runtime.network

    def bind(images: Tensor) -> Call:
        def call() -> None:
            with torch.inference_mode():
                network(images)

        try:
            call()
        except Exception as error:  # a graph with guards raises its own
            raise _refuses(path, images, error) from error
        return call

    return Opened(path, engine, runtime, bind, network, facts)


def _onnx(path: Path, threads: int) -> Opened:
    runtime = OnnxRuntime(path, threads)
    texts = runtime.session.get_modelmeta().custom_metadata_map
    sizes = runtime.session.get_inputs()[0].shape[1:]
    known = {"image_shape": sizes} if all(isinstance(size, int) for size in sizes) else {}

    def bind(images: Tensor) -> Call:
        feed = {runtime.input: as_images(images).numpy()}

        def call() -> None:
            runtime.session.run(None, feed)

        try:
            call()
        except Exception as error:  # the runtime's own exceptions share no class
            raise _refuses(path, images, error) from error
        return call

    facts = known | _parsed(texts.get("preprocess", ""))
    return Opened(path, "onnxruntime", runtime, bind, None, facts)


def _pte(path: Path, threads: int) -> Opened:
    runtime = ExecuTorch(path, threads)
    sizes = runtime.forward.metadata.input_tensor_meta(0).sizes()[1:]
    try:
        text = runtime.text("preprocess")
    except (RuntimeError, KeyError, ValueError):  # written by somebody else
        text = ""

    def bind(images: Tensor) -> Call:
        if len(images) > runtime.largest_batch:
            reason = f"at most {runtime.largest_batch} at once"
            raise _refuses(path, images, DataError(reason))
        given = [as_images(images)]

        def call() -> None:
            runtime.forward.execute(given)

        call()
        return call

    facts = {"image_shape": list(sizes)} | _parsed(text)
    return Opened(path, "executorch", runtime, bind, None, facts)


def _refuses(
    path: Path, images: Tensor, error: Exception, fix: str = "another --batch"
) -> DataError:
    reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
    return DataError(f"{path}: takes no {len(images)} images at once ({reason}). Fix: {fix}")


def _extra(path: Path) -> dict[str, Any]:
    try:
        with zipfile.ZipFile(path) as archive:
            name = next(n for n in archive.namelist() if n.endswith("/extra/preprocess.json"))
            return _parsed(archive.read(name).decode())
    except (StopIteration, zipfile.BadZipFile):
        return {}


def _parsed(text: str) -> dict[str, Any]:
    try:
        found = json.loads(text)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


OPENERS: dict[str, Callable[[Path, int], Opened]] = {
    ".safetensors": _artifact,
    ".onnx": _onnx,
    ".pte": _pte,
    ".pt2": _pt2,
}
