"""OpenVINO export, `.xml` and `.bin`: any batch size, float32 or int8 that OpenVINO computes."""

import re
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from potstill.errors import DataError
from potstill.export.base import describe_file
from potstill.export.formats import FileExporter
from potstill.export.in_int8 import check_in_int8
from potstill.export.onnx import convert, strip
from potstill.export.runtimes.openvino import EXTRA, PREPROCESS, WEIGHTS, OpenVino, last_line
from potstill.libraries import need
from potstill.quantization.convert import is_converted, with_activations

KEY = "export=openvino"
LAYERS = ("Convolution", "FullyConnected")


class OpenVinoIr(FileExporter):
    """Write an intermediate representation; its preprocessing is in the file's runtime information.

    The network goes there as ONNX. Integers go as pairs of QuantizeLinear and DequantizeLinear,
    whose scales and zero points are the network's own; OpenVINO keeps the weights as int8.

    Args:
        threads: the check runs on.
    """

    suffix, engine, runtime = ".xml", "openvino", OpenVino

    def content(
        self, network: nn.Module, images: Tensor, facts: Mapping[str, Any]
    ) -> dict[str, bytes]:
        """Return the weights and the graph."""
        library, integer = need("openvino", KEY, EXTRA), is_converted(network)
        # On codes of int8 a MobileNetV2 took 2.5 times as long.
        given = with_activations(network, "uint8") if integer else network
        proto = convert(given, images, KEY)
        strip(proto)
        model = read(library, proto.SerializeToString())
        model.set_rt_info(describe_file(facts, integer), PREPROCESS)
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder, f"model{self.suffix}")
            library.save_model(model, file, compress_to_fp16=False)
            parts = (WEIGHTS, self.suffix)
            return {suffix: file.with_suffix(suffix).read_bytes() for suffix in parts}

    def load(self, path: Path, network: nn.Module) -> OpenVino:
        """Open a file; DataError where OpenVINO computes an int8 network's layers in float."""
        runtime = OpenVino(path, self.threads)
        executed = runtime.executed()
        in_float = sum(executed.get((kind, "f32"), 0) for kind in LAYERS)
        check_in_int8(network, in_float, KEY, runtime.name)
        return runtime


def read(library: Any, proto: bytes) -> Any:
    """Return the openvino.Model of a ModelProto.

    Raises:
        DataError: if OpenVINO has no such operator.
    """
    try:
        return library.Core().read_model(proto)
    except RuntimeError as error:
        found = re.search(r"No conversion rule found for operations: (.+)", str(error))
        why = f"has no {found[1].strip()}" if found else f"cannot read it: {last_line(error)}"
        raise DataError(
            f"{KEY}: the network cannot be written (OpenVINO {why}). "
            "Fix: another export, or a network without that layer"
        ) from error
