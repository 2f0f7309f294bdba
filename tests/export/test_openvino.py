"""OpenVINO files: the same logits, in float and in int8 that OpenVINO computes."""

import shutil
import xml.etree.ElementTree as ElementTree

import numpy as np
import pytest
import torch
from torch import nn

from potstill.benchmark.open_file import open_file
from potstill.errors import DataError
from potstill.export import in_int8
from potstill.export.bundle import Bundle
from potstill.export.openvino import OpenVinoIr, read
from potstill.export.runtimes.openvino import OpenVino
from potstill.quantization.converted_layers import ConvertedConv2d, ConvertedLinear
from potstill.quantization.dynamic import quantize_dynamic
from tests.support.bundles import script_of
from tests.support.exported_nets import CLASSES, FACTS, integers, make_images, residual

openvino = pytest.importorskip("openvino", reason="pip extra openvino")
onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxscript")


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    folder = tmp_path_factory.mktemp("xml")
    nets = {"float32": residual(), "int8": integers(residual())}
    return {
        name: (net, OpenVinoIr()(net, folder / name, make_images(), FACTS))
        for name, net in nets.items()
    }


@pytest.mark.parametrize(("precision", "floor"), [("float32", 100), ("int8", 28)])
def test_logits_of_any_batch(written, precision, floor):
    network, done = written[precision]
    weights = done.path.with_suffix(".bin")
    assert done.beside == (weights.name,)
    assert done.bytes == done.path.stat().st_size + weights.stat().st_size
    assert done.sqnr_db > floor
    runtime = OpenVino(done.path)
    for count in (1, 9):
        images = make_images(count)
        found = runtime(images)
        assert (found - network(images)).abs().max() <= done.max_difference * 1.01 + 1e-6
        runtime.bind(images)()


def test_integers_are_the_networks_own(written):
    """Weights lie in the .bin as int8, and scales and zero points in the graph, as trained."""
    network, done = written["int8"]
    layers = [m for m in network.modules() if isinstance(m, ConvertedConv2d | ConvertedLinear)]
    assert len(layers) == 4
    stored = done.path.with_suffix(".bin").read_bytes()
    for layer in layers:
        assert layer.weight.numpy().tobytes() in stored
        assert layer.scale.numpy().tobytes() in stored
    kinds = OpenVino(done.path).executed()
    assert (kinds["Convolution", "u8"], kinds["FullyConnected", "u8"]) == (3, 1)
    assert ("Convolution", "f32") not in kinds


def test_float32_stays_float32(written):
    graph = ElementTree.parse(written["float32"][1].path)
    assert {data.get("element_type") for data in graph.iter("data")} <= {"f32", "i64", "i32", None}


def test_layers_in_float_are_refused_unless_the_network_keeps_them(written):
    network, done = written["int8"]
    in_int8.check_in_int8(network, 0, "export=x", "X")
    with pytest.raises(DataError, match=r"export=x: X computes 2 layers in float32, not in int8"):
        in_int8.check_in_int8(network, 2, "export=x", "X")
    kept = nn.Sequential(network, nn.Linear(5, 5))
    in_int8.check_in_int8(kept, 1, "export=x", "X")
    with pytest.raises(DataError, match="computes 1 layers"):
        in_int8.check_in_int8(kept, 2, "export=x", "X")
    # The float file in place of the int8 one.
    with pytest.raises(DataError, match="export=openvino: OpenVINO computes 4 layers in float32"):
        OpenVinoIr().load(written["float32"][1].path, network)
    OpenVinoIr().load(done.path, network)


def test_the_file_carries_labels_and_preprocessing(written):
    opened = open_file(written["int8"][1].path)
    assert (opened.engine, opened.image_shape) == ("openvino", (3, 16, 16))
    assert opened.facts["class_names"] == list(CLASSES)
    assert (opened.facts["std"], opened.facts["precision"]) == (FACTS["std"], "int8")


def test_a_file_of_somebody_else(tmp_path):
    x = openvino.opset13.parameter([-1, 3, 5, 7], np.float32)
    model = openvino.Model([openvino.opset13.relu(x)], [x], "theirs")
    openvino.save_model(model, tmp_path / "theirs.xml")
    opened = open_file(tmp_path / "theirs.xml")
    assert (opened.facts, opened.image_shape) == ({"image_shape": [3, 5, 7]}, (3, 5, 7))
    images = torch.randn(2, 3, 5, 7)
    torch.testing.assert_close(opened.logits(images), images.relu())


def test_a_damaged_file_is_one_line(written, tmp_path):
    path = shutil.copy(written["float32"][1].path, tmp_path)
    with pytest.raises(
        DataError, match=r"weights are missing, float32\.bin is not beside it\. Fix: "
    ):
        OpenVino(path)
    (tmp_path / "float32.bin").write_bytes(b"short")
    with pytest.raises(
        DataError, match=r"OpenVINO cannot run it \([^\n]+\)\. Fix: export it again"
    ):
        OpenVino(path)
    (tmp_path / "float32.xml").write_text("no graph")
    with pytest.raises(DataError, match=r"OpenVINO cannot run it \(Unable to read the model"):
        OpenVino(path)


def test_an_operator_it_has_not_is_named():
    make, kind = onnx.helper, onnx.TensorProto.FLOAT
    ends = [make.make_tensor_value_info(name, kind, ["n", 3]) for name in "xy"]
    graph = make.make_graph(
        [make.make_node("Foo", ["x"], ["y"], domain="my")], "g", *([e] for e in ends)
    )
    imports = [make.make_opsetid("", 18), make.make_opsetid("my", 1)]
    proto = make.make_model(graph, opset_imports=imports)
    with pytest.raises(DataError, match=r"export=openvino: .* \(OpenVINO has no my\.Foo\)\. Fix: "):
        read(openvino, proto.SerializeToString())
    with pytest.raises(DataError, match=r"OpenVINO cannot read it: .*\)\. Fix: "):
        read(openvino, b"no model")


def test_rows_that_are_rounded_by_themselves_are_refused(tmp_path):
    network, _ = quantize_dynamic(residual())
    with pytest.raises(DataError, match="export=openvino: no ONNX operator quantizes each row"):
        OpenVinoIr()(network, tmp_path / "net", make_images(), FACTS)


def test_a_refused_file_leaves_no_weights(written, tmp_path, monkeypatch):
    done = written["float32"][1]
    parts = {end: done.path.with_suffix(end).read_bytes() for end in (".bin", ".xml")}
    monkeypatch.setattr(OpenVinoIr, "content", lambda *_: parts)
    changed = residual()
    with torch.no_grad():
        changed[-1].weight += 1
    for end in parts:
        (tmp_path / f"net{end}").write_bytes(b"an earlier one")
    with pytest.raises(DataError, match="computes something else"):
        OpenVinoIr()(changed, tmp_path / "net", make_images(), FACTS)
    assert list(tmp_path.iterdir()) == []


def test_a_bundle_has_both_files_and_its_script_runs_them(written, tmp_path):
    network, done = written["int8"]
    folder = Bundle()(network, tmp_path / "net", make_images(), FACTS, files=[done]).path
    names = ["README.md", "SHA256SUMS", "classify.py", "labels.txt", "model.bin", "model.xml"]
    assert sorted(file.name for file in folder.iterdir()) == [*names, "preprocess.json"]
    text = (folder / "README.md").read_text(encoding="utf-8")
    assert "pip install numpy Pillow openvino\n" in text
    assert "| `model.xml`, `model.bin` | the network, for OpenVINO (" in text
    classifier = script_of(folder).Classifier(folder / "model.xml")
    images = make_images(3)
    found = np.stack([classifier.logits(image[None].numpy()) for image in images])
    np.testing.assert_allclose(found, OpenVino(done.path)(images), atol=1e-6)
    (folder / "model.bin").unlink()
    with pytest.raises(Exception, match=r"model\.bin is not as SHA256SUMS has it\. Fix: copy"):
        script_of(folder).Classifier(folder / "model.xml")
