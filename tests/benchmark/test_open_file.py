"""Every kind of file gives the logits of the network it was made from, and says what it is of."""

import pytest
import torch
from torch import nn

from potstill.benchmark.open_file import open_file
from potstill.errors import ConfigError, DataError

KINDS = {
    "student": "eager",
    "onnx": "onnxruntime",
    "pte": "executorch",
    "pt2": "torch.export",
}


@pytest.mark.parametrize("kind", KINDS)
def test_logits_are_those_of_the_network(files, kind):
    opened = open_file(files.paths[kind])
    images = next(iter(files.data.test_dataloader()))[0]
    with torch.no_grad():
        expected = files.networks["student"](images)
    torch.testing.assert_close(opened.logits(images), expected, rtol=1e-4, atol=1e-4)
    assert opened.engine == KINDS[kind]


@pytest.mark.parametrize("kind", KINDS)
def test_a_file_says_what_it_was_made_for(files, kind):
    opened = open_file(files.paths[kind])
    assert opened.image_shape == (3, 32, 32)
    assert opened.facts["mean"] == list(files.data.mean)
    assert opened.facts["class_names"] == list(files.data.class_names)


@pytest.mark.parametrize("kind", KINDS)
def test_what_the_clock_times_can_be_called_again(files, kind):
    call = open_file(files.paths[kind]).bind(torch.zeros(8, 3, 32, 32))
    for _ in range(2):
        call()


def test_no_time_for_a_batch_that_is_not_computed_at_once(files):
    with pytest.raises(DataError, match=r"takes no 9 images at once \(at most 8 at once\)"):
        open_file(files.paths["pte"]).bind(torch.zeros(9, 3, 32, 32))


def foreign_onnx(path, shape):
    """A file of somebody else: ReLU of an input of this shape."""
    onnx = pytest.importorskip("onnx")
    make, float32 = onnx.helper, onnx.TensorProto.FLOAT
    ends = [make.make_tensor_value_info(name, float32, shape) for name in "xy"]
    graph = make.make_graph([make.make_node("Relu", ["x"], ["y"])], "g", ends[:1], ends[1:])
    model = make.make_model(graph, opset_imports=[make.make_opsetid("", 18)], ir_version=9)
    onnx.save(model, path)
    return open_file(path)


def test_a_file_of_somebody_else(tmp_path):
    opened = foreign_onnx(tmp_path / "fixed.onnx", [1, 3, 5, 7])
    assert opened.image_shape == (3, 5, 7)
    [found] = opened.bind(torch.zeros(1, 3, 5, 7))()
    assert found.shape == (1, 3, 5, 7)
    with pytest.raises(DataError, match="takes no 2 images at once"):
        opened.bind(torch.zeros(2, 3, 5, 7))
    with pytest.raises(DataError, match=r"any\.onnx: does not hold the size of its images"):
        _ = foreign_onnx(tmp_path / "any.onnx", ["n", 3, "h", "w"]).image_shape


def test_a_graph_of_somebody_else_has_no_facts(tmp_path):
    path = tmp_path / "net.pt2"
    torch.export.save(torch.export.export(nn.ReLU(), (torch.zeros(1, 3, 4, 4),)), path)
    opened = open_file(path)
    assert opened.facts == {}
    with pytest.raises(DataError, match="takes no 2 images at once"):
        opened.bind(torch.zeros(2, 3, 4, 4))


def test_no_file_and_no_kind(tmp_path):
    with pytest.raises(DataError, match=r"gone\.onnx: no such file"):
        open_file(tmp_path / "gone.onnx")
    (tmp_path / "net.h5").touch()
    with pytest.raises(ConfigError, match=r"of no known kind\. Fix: a file in \.safetensors\|"):
        open_file(tmp_path / "net.h5")
    (tmp_path / "net.onnx").write_bytes(b"nothing")
    with pytest.raises(DataError, match="ONNX Runtime cannot run it"):
        open_file(tmp_path / "net.onnx")
