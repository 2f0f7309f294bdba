"""Artifacts and exported files, each opened in the engine that runs it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from potstill.artifact.file import load_artifact
from potstill.benchmark.arguments import ARTIFACT
from potstill.errors import ConfigError, DataError
from potstill.export.formats import formats
from potstill.export.runtimes.base import Runtime
from potstill.export.runtimes.eager import Eager

Call = Callable[[], Any]


@dataclass(frozen=True)
class Opened:
    """A file in its engine.

    Attributes:
        path: the file.
        engine: "eager" for an artifact, else what its exporter declares.
        logits: of images (N, C, H, W), for any N.
        bind: from images, the engine's own call on them and nothing else, for the clock;
            DataError where the file takes no such batch.
        network: where PyTorch computes it; None in other engines.
        facts: those written into the file: `mean`, `std`, `image_shape`, `class_names`.
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
            DataError: if the file does not hold it.
        """
        shape = self.facts.get("image_shape")
        if not shape:
            raise DataError(
                f"{self.path}: does not hold the size of its images. "
                "Fix: a file that was exported by potstill"
            )
        return tuple(shape)

    def refuses(self, images: Tensor, error: Exception, fix: str) -> DataError:
        """Return what to raise where the engine raised `error` on these images."""
        return _refuses(self.path, images, error, fix)


def open_file(path: Path, threads: int = 1) -> Opened:
    """Open a `.safetensors` artifact, or a file of any exporter whose format has an engine.

    Raises:
        ConfigError: if the suffix is another, or the engine is not installed.
        DataError: if the file is missing or damaged.
    """
    if not path.is_file():
        raise DataError(f"{path}: no such file. Fix: the path of an artifact or an exported file")
    if path.suffix == ARTIFACT:
        network, artifact = load_artifact(path)
        return _opened(path, "eager", Eager(network, threads), artifact.facts)
    known = formats()
    if path.suffix not in known:
        raise ConfigError(
            f"{path}: of no known kind. Fix: a file in {'|'.join([ARTIFACT, *known])}"
        )
    runtime = known[path.suffix].runtime(path, threads)
    return _opened(path, known[path.suffix].engine, runtime, runtime.facts)


def runtime_of(path: Path) -> type[Runtime]:
    """Return what opens a file, by its suffix."""
    return Eager if path.suffix == ARTIFACT else formats()[path.suffix].runtime


def _opened(path: Path, engine: str, runtime: Runtime, facts: Mapping[str, Any]) -> Opened:
    def bind(images: Tensor) -> Call:
        try:
            call = runtime.bind(images)
            call()
        except Exception as error:  # the engines' own exceptions share no class
            raise _refuses(path, images, error) from error
        return call

    return Opened(path, engine, runtime, bind, runtime.network, facts)


def _refuses(
    path: Path, images: Tensor, error: Exception, fix: str = "another --batch"
) -> DataError:
    reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
    return DataError(f"{path}: takes no {len(images)} images at once ({reason}). Fix: {fix}")
