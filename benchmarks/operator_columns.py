"""Runtimes of the table of operators: what each computes of a file in float32."""

import importlib
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest import mock

import onnx
import onnxruntime
from onnx import TensorProto
from torch import Tensor, nn

from potstill.export.executorch import Pte
from potstill.export.onnx import Onnx

FACTS = {"mean": [0.5] * 3, "std": [0.25] * 3, "preprocess": {}}
QUANTIZE = ("QuantizeLinear", "DequantizeLinear")
Write = Callable[[nn.Module, Tensor, Path], Counter[str]]


@dataclass(frozen=True)
class Column:
    """A runtime.

    Args:
        name: heading of its columns.
        write: writes a file, which is verified, into a folder; returns how often which operator
            is given values in float32.
    """

    name: str
    write: Write


def facts(images: Tensor, classes: int) -> dict[str, Any]:
    """Return what an exporter must know."""
    shape = list(images.shape[1:])
    return FACTS | {"image_shape": shape, "class_names": [str(k) for k in range(classes)]}


def onnx_runtime(network: nn.Module, images: Tensor, folder: Path) -> Counter[str]:
    """Write for ONNX Runtime, and look at the graph that it has optimized."""
    done = Onnx()(network, folder / "net", images, facts(images, _classes(network, images)))
    options = onnxruntime.SessionOptions()
    options.optimized_model_filepath = str(folder / "optimized.onnx")
    options.log_severity_level = 4
    onnxruntime.InferenceSession(str(done.path), options, providers=["CPUExecutionProvider"])
    return _given_floats(onnx.load(folder / "optimized.onnx").graph)


def _given_floats(graph: Any) -> Counter[str]:
    """Count operators whose first computed input is in float32; graphs are in order."""
    integer = {one.name for one in graph.initializer if one.data_type != TensorProto.FLOAT}
    constants, found = {one.name for one in graph.initializer}, Counter()
    for node in graph.node:
        computed = [name for name in node.input if name and name not in constants]
        if not computed:
            constants.update(node.output)
            continue
        in_float = not any(name in integer for name in computed)
        if node.op_type in QUANTIZE:
            in_float = node.op_type == "DequantizeLinear"
        elif node.op_type in ("Shape", "Size"):
            in_float = False
        elif in_float:
            found[node.op_type] += 1
        if not in_float:
            integer.update(node.output)
    return found


def executorch(network: nn.Module, images: Tensor, folder: Path) -> Counter[str]:
    """Write for ExecuTorch, and look at the graphs that XNNPACK is handed."""
    backend = importlib.import_module("executorch.backends.xnnpack.xnnpack_preprocess")
    original, graphs = backend.serialize_xnnpack_binary, []

    def keep(graph: Any, *args: Any, **kwargs: Any) -> Any:
        graphs.append(graph)
        return original(graph, *args, **kwargs)

    with mock.patch.object(backend, "serialize_xnnpack_binary", keep):
        known = facts(images, _classes(network, images))
        Pte(largest_batch=len(images))(network, folder / "net", images, known)
    return sum((_in_float(graph) for graph in graphs), Counter())


def _in_float(graph: Any) -> Counter[str]:
    """Count operators of a delegate whose output is in float32."""
    types = {}
    for value in graph.xvalues:
        one = value.xvalue_union
        tensor = getattr(one, "tensor_value", one)
        types[tensor.id_out] = tensor.datatype.name
    found: Counter[str] = Counter()
    for node in graph.xnodes:
        call = node.xnode_union
        kind = type(call).__name__.removeprefix("_").removeprefix("XNN")
        if kind != "Convert" and types[call.output_id] == "xnn_datatype_fp32":
            found[kind] += 1
    return found


def _classes(network: nn.Module, images: Tensor) -> int:
    return network.cpu()(images[:1]).shape[1]


COLUMNS = (Column("ONNX Runtime", onnx_runtime), Column("ExecuTorch", executorch))
