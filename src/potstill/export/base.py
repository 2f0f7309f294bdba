"""Interface of exporters: one file a format, kept once its own runtime has run it."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from torch import Tensor, nn

from potstill.integrity.sealed import seal
from potstill.quantization.convert import convert
from potstill.quantization.prepare import is_prepared
from potstill.tasks.base import Task

ORDER = ("resize", "crop", "divide by 255", "subtract mean", "divide by std")


@dataclass(frozen=True)
class Exported:
    """A file, and how its runtime compared with the network it was made from.

    Attributes:
        path: the file.
        bytes: its size, with the files `beside` it.
        runtime: what ran it.
        agreement: share of images on which both agree, by the task, a fraction.
        max_difference: largest difference of an output.
        sqnr_db: power of the logits, less their mean over the classes, over that of their
            differences, in decibels.
        beside: names of the files in the same folder without which it does not run.
    """

    path: Path
    bytes: int
    runtime: str
    agreement: float
    max_difference: float
    sqnr_db: float
    beside: tuple[str, ...] = ()


class Exporter:
    """A callable that writes a network in one format and verifies the file.

    Where that is a single file, `formats.FileExporter` does most of it.

    Class attributes:
        bundles: whether it is made of other exporters' files: then it is called after them, with
            `files`, what they returned.
        needs_classes: whether it names classes, so that no other task can use it.
    """

    bundles: ClassVar[bool] = False
    needs_classes: ClassVar[bool] = False

    def __call__(
        self,
        network: nn.Module,
        path_stem: Path,
        images: Tensor,
        facts: Mapping[str, Any],
        task: Task | None = None,
    ) -> Exported:
        """Write `path_stem` with the format's suffix, and check it on images (N, C, H, W).

        The network is a float one, or an int8 one as `potstill.quantization.convert` leaves it.
        `facts` are those of an artifact: `class_names` or `output`, `mean`, `std`, `image_shape`,
        `preprocess`. `task` decides when two outputs agree; classification without one. Where the
        check fails no file is left.

        Raises:
            ConfigError: if the format's library is not installed.
            DataError: if the network cannot be written, or its file computes something else.
        """
        raise NotImplementedError


def describe_file(facts: Mapping[str, Any], is_int8: bool) -> str:
    """Return what `about_file` does, as JSON with a version and its own sha256."""
    return seal(about_file(facts, is_int8), ensure_ascii=False)


def about_file(facts: Mapping[str, Any], is_int8: bool) -> dict[str, Any]:
    """Return labels, preprocessing, shapes and precision of an exported file."""
    channels, height, width = facts["image_shape"]
    names = facts.get("class_names")
    output = {"shape": ["batch", len(names)], "meaning": "logits"} if names else facts["output"]
    return {
        **facts,
        "order": ORDER,
        "input": {"shape": ["batch", channels, height, width], "dtype": "float32"},
        "output": output,
        "precision": "int8" if is_int8 else "float32",
    }


def to_export(network: nn.Module) -> nn.Module:
    """Return the network to write: converted to int8 if it is fake-quantized, on the CPU."""
    return (convert(network) if is_prepared(network) else network).cpu().eval()


def reason(error: BaseException) -> str:
    """Return the first line of an error's message that is not blank, else its type."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0] if lines else type(error).__name__
