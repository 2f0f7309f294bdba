"""Core ML export, `.mlpackage`, for Apple's devices."""

import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

from torch import Tensor, nn

from potstill.config.ranges import Ranges
from potstill.errors import ConfigError, DataError
from potstill.export.base import Exported, Exporter, describe_file, reason, to_export
from potstill.export.torch_export import capture
from potstill.libraries import native_stderr, need, quiet_libraries
from potstill.quantization.convert import is_converted
from potstill.tasks.base import Task

KEY = "export=coreml"


class CoreMl(Exporter):
    """Write a package for any batch up to `largest_batch`; macOS 14, iOS 17 and later run it.

    Core ML runs on macOS alone and this project has none to test on, so that nothing was seen to
    run the package: its agreement, difference and decibels are NaN.

    Args:
        largest_batch: images at once.
        unchecked: must be true, so that nobody takes the package for a checked one.

    Raises:
        ConfigError: if `unchecked` is false.
    """

    ranges: ClassVar[Ranges] = {"largest_batch": "[1, inf)"}

    def __init__(self, largest_batch: int = 64, unchecked: bool = False) -> None:
        if not unchecked:
            raise ConfigError(
                f"{KEY}: no Core ML runs here, so that the package cannot be checked. "
                "Fix: another export, or export.coreml.unchecked=true and a check of your own"
            )
        self.largest_batch = largest_batch

    def __call__(
        self,
        network: nn.Module,
        path_stem: Path,
        images: Tensor,
        facts: Mapping[str, Any],
        task: Task | None = None,
    ) -> Exported:
        """Write `path_stem`.mlpackage, a folder, unchecked; see `Exporter`."""
        network, nan = to_export(network), float("nan")
        model = convert(network, images.cpu(), self.largest_batch)
        model.user_defined_metadata["preprocess"] = describe_file(facts, is_converted(network))
        if names := facts.get("class_names"):
            model.user_defined_metadata["labels"] = "\n".join(names)
        path = path_stem.with_name(f"{path_stem.name}.mlpackage")
        trial = path.with_name(f".{path.stem}.{os.getpid()}.mlpackage")
        shutil.rmtree(path, ignore_errors=True)
        try:
            with quiet_libraries():
                model.save(str(trial))
            os.replace(trial, path)
        finally:
            shutil.rmtree(trial, ignore_errors=True)
        size = sum(file.stat().st_size for file in path.rglob("*") if file.is_file())
        return Exported(path, size, "none: unchecked", nan, nan, nan)


def convert(network: nn.Module, images: Tensor, largest_batch: int) -> Any:
    """Return the MLModel of a network, float32 or int8.

    Raises:
        ConfigError: if coremltools is not installed.
        DataError: if it cannot be written.
    """
    with native_stderr(), quiet_libraries():  # it draws bars
        tools = need("coremltools", KEY)
        program = capture(network, images, KEY, largest_batch).run_decompositions({})
        try:
            return tools.convert(
                program,
                outputs=[tools.TensorType(name="logits")],
                minimum_deployment_target=tools.target.iOS17,
                compute_precision=tools.precision.FLOAT32,
            )
        except Exception as error:  # the converter's passes each raise their own
            raise DataError(
                f"{KEY}: the network cannot be written ({reason(error)}). Fix: another export"
            ) from error
