"""ONNX export, `.onnx`: any batch size, float32 or int8 that ONNX Runtime computes."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from potstill.config.ranges import Ranges
from potstill.errors import ConfigError, DataError
from potstill.export.base import describe_file, reason
from potstill.export.formats import FileExporter
from potstill.export.in_int8 import check_in_int8
from potstill.export.onnx_unsigned import unsigned_weights
from potstill.export.runtimes.onnxruntime import OnnxRuntime
from potstill.libraries import need, quiet_libraries
from potstill.quantization.convert import is_converted, with_activations
from potstill.quantization.dynamic import is_dynamic

KEY = "export=onnx"
CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
IN_FLOAT = ("Conv", "FusedConv")  # what ONNX Runtime calls convolutions in float32
EXAMPLES = 2  # of one image, torch.export would conclude that the batch is always 1


class Onnx(FileExporter):
    """Write what ONNX Runtime runs; its labels and preprocessing are in the file's metadata.

    Integers go as pairs of QuantizeLinear and DequantizeLinear, activations in uint8: on x86 int8
    ones were three times as slow.

    Args:
        weights: uint8, exact everywhere; or int8, faster on x86 processors with VNNI (and on
            others wrong: their kernels saturate, which the check then finds).
        threads: the check runs on.

    Raises:
        ConfigError: if `weights` is neither.
    """

    ranges: ClassVar[Ranges] = {"weights": ("uint8", "int8")}

    suffix, engine, runtime = ".onnx", "onnxruntime", OnnxRuntime

    def __init__(self, weights: str = "uint8", threads: int = 1) -> None:
        if weights not in ("uint8", "int8"):
            raise ConfigError(f"weights={weights}: unknown. Fix: weights=uint8|int8")
        super().__init__(threads)
        self.weights = weights

    def content(self, network: nn.Module, images: Tensor, facts: Mapping[str, Any]) -> bytes:
        """Return the ModelProto as bytes."""
        integer = is_converted(network)
        model = convert(with_activations(network, "uint8") if integer else network, images)
        if integer and self.weights == "uint8":
            unsigned_weights(model)
        strip(model)
        annotate(model, facts, describe_file(facts, integer))
        try:
            return model.SerializeToString()
        except (ValueError, need("google.protobuf.message", KEY).EncodeError) as error:
            raise DataError(
                f"{KEY}: the network is too large for one file, whose limit is 2 GB. "
                "Fix: another export, or a smaller network"
            ) from error

    def load(self, path: Path, network: nn.Module) -> OnnxRuntime:
        """Open a file; DataError where ONNX Runtime computes an int8 network's layers in float."""
        runtime = OnnxRuntime(path, self.threads)
        if is_converted(network):
            executed = runtime.executed()
            left = sum(executed.get(name, 0) for name in IN_FLOAT)
            check_in_int8(network, left, KEY, runtime.name, CONVOLUTIONS)
        return runtime


def convert(network: nn.Module, images: Tensor, key: str = KEY) -> Any:
    """Return the ModelProto of a network that takes images (N, C, H, W), for any N.

    Raises:
        DataError: if it holds what ONNX has no words for; `key` is the setting to name.
    """
    need("onnxscript", key)
    if is_dynamic(network):
        raise DataError(
            f"{key}: no ONNX operator quantizes each row by itself, as int8 of linear layers alone "
            "does. Fix: another stage (ptq or qat), or export=executorch"
        )
    example = images[:1].expand(EXAMPLES, *images.shape[1:]).contiguous()
    with quiet_libraries():
        try:
            program = torch.onnx.export(
                network,
                (example,),
                dynamo=True,
                dynamic_shapes=({0: torch.export.Dim("batch")},),
                input_names=["image"],
                output_names=["logits"],
                verbose=False,
            )
        except Exception as error:  # the exporter's stages each raise their own
            raise DataError(
                f"{key}: the network cannot be written ({reason(_first(error))}). "
                "Fix: another export, or a network without that layer"
            ) from error
    assert program is not None
    return program.model_proto


def _first(error: BaseException) -> BaseException:
    """Return the error that caused all others: those tell how to report a bug."""
    return _first(error.__cause__) if error.__cause__ else error


def strip(model: Any) -> None:
    """Drop what no runtime reads: stack traces, source lines, shapes it infers itself."""
    graph = model.graph
    for part in (graph, *graph.node, *graph.initializer, *graph.input, *graph.output):
        del part.metadata_props[:]
        part.doc_string = ""
    del graph.value_info[:]


def annotate(model: Any, facts: Mapping[str, Any], description: str) -> None:
    """Write labels and preprocessing into the model's metadata."""
    entries = {"preprocess": description}
    if names := facts.get("class_names"):
        entries = {"labels": "\n".join(names), **entries}
    for key, value in entries.items():
        model.metadata_props.add(key=key, value=value)
