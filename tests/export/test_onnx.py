"""ONNX files: the same logits in ONNX Runtime, in int8 where the network is int8."""

import json
import re

import numpy as np
import pytest
import torch

from potstill.errors import ConfigError, DataError
from potstill.export import onnx as exporter
from potstill.export.in_int8 import float_calls
from potstill.export.onnx import Onnx
from potstill.export.onnx_unsigned import unsigned_weights
from potstill.export.runtimes.onnxruntime import OnnxRuntime
from potstill.quantization.convert import convert
from potstill.quantization.dynamic import quantize_dynamic
from potstill.quantization.post_training import quantize_static
from tests.support.exported_nets import CLASSES, FACTS, integers, make_images, small

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxscript")
pytest.importorskip("onnxruntime")


@pytest.fixture(scope="module")
def nets():
    network = small()
    return {"float32": network, "int8": integers(network)}


@pytest.fixture(scope="module")
def files(nets, tmp_path_factory):
    folder = tmp_path_factory.mktemp("onnx")
    return {name: Onnx()(net, folder / name, make_images(), FACTS) for name, net in nets.items()}


@pytest.mark.parametrize(("precision", "floor"), [("float32", 100), ("int8", 30)])
def test_logits_of_any_batch(nets, files, precision, floor):
    done = files[precision]
    assert done.path.stat().st_size == done.bytes
    assert done.sqnr_db > floor
    runtime = OnnxRuntime(done.path)
    for count in (1, 7):
        images = make_images(count)
        difference = (runtime(images) - nets[precision](images)).abs().max()
        assert difference <= done.max_difference * 1.01 + 1e-6


def test_integers_are_computed_in_integers(files):
    executed = OnnxRuntime(files["int8"].path).executed()
    assert executed["QLinearConv"] == 3
    assert executed["QGemm"] == 1
    assert not {"Conv", "FusedConv", "Gemm", "Relu"} & set(executed)
    types = {tensor.data_type for tensor in onnx.load(files["int8"].path).graph.initializer}
    assert onnx.TensorProto.INT8 not in types


@pytest.mark.parametrize("precision", ["float32", "int8"])
def test_the_file_carries_labels_and_preprocessing_and_no_sources(files, precision):
    model = onnx.load(files[precision].path)
    onnx.checker.check_model(model, full_check=True)
    texts = {entry.key: entry.value for entry in model.metadata_props}
    assert texts["labels"].split("\n") == list(CLASSES)
    about = json.loads(texts["preprocess"])
    assert about["mean"] == FACTS["mean"]
    assert about["preprocess"] == {"resize": 18, "crop": 16}
    assert about["precision"] == precision
    assert about["order"][0] == "resize"
    assert not re.search(rb"\.py|pkg\.torch|stack_trace", files[precision].path.read_bytes())
    shape = model.graph.input[0].type.tensor_type.shape.dim
    assert (shape[0].dim_param, [d.dim_value for d in shape[1:]]) == ("batch", [3, 16, 16])


def test_unsigned_weights_keep_every_value():
    """Against ONNX's own reference implementation."""
    codes = np.array([[-127, -1, 0], [5, 127, -128]], np.int8)
    make, tensor = onnx.helper, onnx.numpy_helper.from_array
    node = make.make_node("DequantizeLinear", ["w", "s", "z"], ["y"], axis=0)
    constants = [
        tensor(codes, "w"),
        tensor(np.array([0.5, 0.25], np.float32), "s"),
        tensor(np.array([0, 3], np.int8), "z"),
    ]
    output = make.make_tensor_value_info("y", onnx.TensorProto.FLOAT, [2, 3])
    graph = make.make_graph([node], "g", [], [output], constants)
    model = make.make_model(graph, opset_imports=[make.make_opsetid("", 20)])
    before = onnx.reference.ReferenceEvaluator(model).run(None, {})[0]
    unsigned_weights(model)
    after = onnx.reference.ReferenceEvaluator(model).run(None, {})[0]
    np.testing.assert_array_equal(before, after)
    np.testing.assert_array_equal(before, [[-63.5, -0.5, 0], [0.5, 31, -32.75]])
    types = {t.name: t.data_type for t in model.graph.initializer}
    assert types["w_uint8"] == types["z_uint8"] == onnx.TensorProto.UINT8
    assert set(types) == {"w_uint8", "s", "z_uint8"}


def test_other_weights_in_the_file_are_found(nets, files, tmp_path, monkeypatch):
    other = onnx.load(files["int8"].path)
    weights = next(t for t in other.graph.initializer if t.name.startswith("conv2.weight"))
    weights.raw_data = weights.raw_data[::-1]
    monkeypatch.setattr(exporter, "convert", lambda *_: other)
    with pytest.raises(DataError, match=r"export=net.onnx: the file computes something else"):
        Onnx(weights="int8")(nets["int8"], tmp_path / "net", make_images(), FACTS)
    assert list(tmp_path.iterdir()) == []


def test_convolutions_left_in_float_are_an_error(nets, files, tmp_path, monkeypatch):
    monkeypatch.setattr(exporter, "convert", lambda *_: onnx.load(files["float32"].path))
    monkeypatch.setattr(exporter, "unsigned_weights", lambda _: None)
    with pytest.raises(DataError, match="3 layers in float32"):
        Onnx()(nets["int8"], tmp_path / "net", make_images(), FACTS)
    assert list(tmp_path.iterdir()) == []


class Branching(torch.nn.Module):
    def forward(self, x):
        return x.mean((2, 3)) if x.sum() > 0 else x.amax((2, 3))


def test_a_network_that_cannot_be_written(tmp_path):
    with pytest.raises(DataError, match=r"export=onnx: the network cannot be written \(.+\)\. Fix"):
        Onnx()(Branching(), tmp_path / "net", make_images(), FACTS)
    assert list(tmp_path.iterdir()) == []


def test_the_reason_is_the_first_of_all_errors(tmp_path):
    class Bessel(torch.nn.Module):
        def forward(self, x):
            return torch.special.bessel_j0(x).mean((2, 3))

    network = Bessel()
    with pytest.raises(DataError, match=r"\(No ONNX function found for .*bessel_j0.*\)\. Fix"):
        Onnx()(network, tmp_path / "net", make_images(), FACTS)


def test_rows_quantized_by_themselves_are_refused_in_one_line(nets, tmp_path):
    network, _ = quantize_dynamic(nets["float32"])
    with pytest.raises(DataError, match=r"^export=onnx: no ONNX operator quantizes.* Fix: .*$"):
        Onnx()(network, tmp_path / "net", make_images(), FACTS)
    assert list(tmp_path.iterdir()) == []


def test_settings_and_missing_library(nets, tmp_path, monkeypatch):
    with pytest.raises(ConfigError, match=r"weights=int4: unknown. Fix: weights=uint8\|int8"):
        Onnx(weights="int4")
    monkeypatch.setitem(__import__("sys").modules, "onnxscript", None)
    with pytest.raises(ConfigError, match=r"export=onnx: needs onnxscript.*potstill\[export\]"):
        Onnx()(nets["float32"], tmp_path / "net", make_images(), FACTS)


def test_convolutions_that_stay_in_float_are_counted_as_often_as_called():
    assert float_calls(convert(quantize_static(small(), [(make_images(),)]))) == 0
    kept = quantize_static(small(), [(make_images(),)], keep_float=["conv2"])
    assert float_calls(convert(kept)) == 1

    class Twice(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.conv = torch.nn.Conv2d(3, 3, 1), torch.nn.Conv2d(3, 3, 1)
            self.up = torch.nn.ConvTranspose2d(3, 3, 1)

        def forward(self, x):
            x = self.up(self.conv(self.conv(self.first(x))))
            return torch.nn.functional.conv2d(x, torch.ones(1, 3, 1, 1)).mean((2, 3))

    kept = quantize_static(Twice(), [(make_images(),)], keep_float=["conv"])
    assert float_calls(convert(kept)) == 3
