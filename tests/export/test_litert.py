"""LiteRT files: the same logits, in float and in int8 that LiteRT computes."""

import zipfile

import numpy as np
import pytest
import torch
from torch import nn

from potstill.benchmark.open_file import open_file
from potstill.errors import DataError
from potstill.export.bundle import Bundle
from potstill.export.litert import TfLite, with_archive
from potstill.export.litert_int8 import float_weights, in_float
from potstill.export.runtimes.litert import LiteRt
from potstill.export.torch_export import capture
from potstill.quantization.converted_layers import ConvertedConv2d, ConvertedLinear
from potstill.quantization.dynamic import quantize_dynamic
from tests.support.bundles import script_of
from tests.support.exported_nets import CLASSES, FACTS, integers, make_images, residual

pytest.importorskip("litert_torch", reason="pip extra litert")
interpreters = pytest.importorskip("ai_edge_litert.interpreter", reason="pip extra litert")


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tflite")
    nets = {"float32": residual(), "int8": integers(residual())}
    return {
        name: (net, TfLite()(net, folder / name, make_images(), FACTS))
        for name, net in nets.items()
    }


@pytest.mark.parametrize(("precision", "floor"), [("float32", 100), ("int8", 28)])
def test_logits_an_image_at_a_time(written, precision, floor):
    network, done = written[precision]
    assert done.path.stat().st_size == done.bytes
    assert done.sqnr_db > floor
    runtime = LiteRt(done.path)
    for count in (1, 9):
        images = make_images(count)
        found = runtime(images)
        assert (found - network(images)).abs().max() <= done.max_difference * 1.01 + 1e-6
    np.testing.assert_array_equal(runtime.bind(images[:1])(), found[:1])
    with pytest.raises(DataError, match="at most 1 at once"):
        runtime.bind(images)
    with pytest.raises(DataError, match=r"LiteRT takes \(1, 3, 16, 16\), not \(1, 3, 8, 8\)"):
        runtime(images[:, :, :8, :8])


def tensors(done):
    """Every tensor of a model by LiteRT's own reader: its details, and its values if constant."""
    reader = interpreters.Interpreter(
        model_content=done.path.read_bytes(),
        experimental_op_resolver_type=interpreters.OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES,
    )
    reader.allocate_tensors()
    return reader, reader.get_tensor_details()


def test_integers_are_the_networks_own(written):
    network, done = written["int8"]
    reader, details = tensors(done)
    held = [one for one in details if len(one["quantization_parameters"]["scales"]) > 0]
    layers = [m for m in network.modules() if isinstance(m, ConvertedConv2d | ConvertedLinear)]
    assert len(layers) == 4
    for layer in layers:
        # LiteRT's weights are (O, H, W, I).
        codes = layer.weight.permute(0, 2, 3, 1) if layer.weight.dim() == 4 else layer.weight
        [found] = [
            one["quantization_parameters"]
            for one in held
            if tuple(one["shape"]) == tuple(codes.shape)
            and one["dtype"] is np.int8
            and np.array_equal(reader.get_tensor(one["index"]), codes)
        ]
        np.testing.assert_array_equal(found["scales"], layer.scale)
        assert not found["zero_points"].any()
    grids = {one["quantization"] for one in held if one["dtype"] is np.int8}
    for quantizer in (m for m in network.modules() if hasattr(m, "keep")):
        assert (quantizer.scale.item(), quantizer.zero_point.item()) in grids


def test_ends_are_float_and_all_between_is_int8(written):
    for network, done in written.values():
        reader, details = tensors(done)
        ends = (*reader.get_input_details(), *reader.get_output_details())
        assert {end["dtype"] for end in ends} == {np.float32}
        assert in_float(done.path.read_bytes()) == (0 if "int8" in done.path.name else 4)
        signature = reader.get_signature_runner()
        [name] = signature.get_input_details()
        image = make_images(1)
        [found] = signature(**{name: image.numpy()}).values()
        assert (torch.from_numpy(found) - network(image)).abs().max() < 0.02
    kinds = {one["dtype"] for one in details}
    assert kinds <= {np.float32, np.int8, np.int32}
    assert sum(one["dtype"] is np.float32 for one in details) == 2  # the ends


def test_float_weights_compute_the_same():
    network, images = integers(residual()), make_images(1)
    graph = float_weights(capture(network, images, "key", 1).module(check_guards=False))
    assert torch.equal(graph(images), network(images))
    targets = [str(node.target) for node in graph.graph.nodes]
    assert sum("quantize_per_channel" in one for one in targets) == 8  # to codes, and from codes


def test_layers_in_float_are_refused(written, tmp_path, monkeypatch):
    network = written["int8"][0]
    content = written["float32"][1].path.read_bytes()
    monkeypatch.setattr("potstill.export.litert.convert", lambda *_: content)
    with pytest.raises(DataError, match="export=litert: LiteRT computes 4 layers in float32"):
        TfLite()(network, tmp_path / "net", make_images(), FACTS)
    assert list(tmp_path.iterdir()) == []


def test_the_file_carries_labels_and_preprocessing(written):
    path = written["int8"][1].path
    opened = open_file(path)
    assert (opened.engine, opened.image_shape) == ("litert", (3, 16, 16))
    assert opened.facts["class_names"] == list(CLASSES)
    assert (opened.facts["std"], opened.facts["precision"]) == (FACTS["std"], "int8")
    with zipfile.ZipFile(path) as archive:
        assert archive.read("labels.txt").decode().split() == list(CLASSES)


def test_equal_networks_are_equal_files_and_nothing_is_printed(written, tmp_path, capfd):
    network, done = written["int8"]
    again = TfLite()(network, tmp_path / "again", make_images(), FACTS)
    assert again.path.read_bytes() == done.path.read_bytes()
    assert capfd.readouterr() == ("", "")


def test_a_damaged_file_is_one_line(written, tmp_path):
    path = tmp_path / "net.tflite"
    for content in (b"", b"no model", written["int8"][1].path.read_bytes()[:2000]):
        path.write_bytes(content)
        with pytest.raises(DataError, match=r"LiteRT cannot run it \([^\n]+\)\. Fix: export it ag"):
            LiteRt(path)


def test_a_file_without_an_archive_has_the_shape_alone(written, tmp_path):
    content = written["float32"][1].path.read_bytes()
    (tmp_path / "net.tflite").write_bytes(content[: content.index(b"PK\x03\x04")])
    assert LiteRt(tmp_path / "net.tflite").facts == {"image_shape": [3, 16, 16]}
    assert with_archive(b"model", {"a": "b"}).startswith(b"model")


class Flat(nn.Module):
    """The first results of a function of an image."""

    def __init__(self, function):
        super().__init__()
        self.function = function

    def forward(self, x):
        return self.function(x.flatten(1))[:, : len(CLASSES)]


@pytest.mark.parametrize(
    ("function", "said"),
    [
        (lambda x: torch.fft.fft(x).real, r"aten\.view_as_real\.default: Unsupported .*complex"),
        (lambda x: x.sort().values, "LiteRT cannot run it \\(it has no STABLEHLO_SORT"),
    ],
    ids=["no word", "no kernel"],
)
def test_an_operator_it_has_not_is_named(tmp_path, function, said):
    with pytest.raises(DataError, match=rf"{said}.*\)\. Fix: another export, or a network witho"):
        TfLite()(Flat(function).eval(), tmp_path / "net", make_images(), FACTS)
    assert list(tmp_path.iterdir()) == []


def test_rows_that_are_rounded_by_themselves_are_refused(tmp_path):
    network, _ = quantize_dynamic(residual())
    with pytest.raises(DataError, match="export=litert: no LiteRT operator quantizes each row"):
        TfLite()(network, tmp_path / "net", make_images(), FACTS)


def test_the_script_of_a_bundle_runs_it(written, tmp_path):
    network, done = written["int8"]
    folder = Bundle()(network, tmp_path / "net", make_images(), FACTS, files=[done]).path
    assert "pip install numpy Pillow ai-edge-litert\n" in (folder / "README.md").read_text("utf-8")
    classifier = script_of(folder).Classifier(folder / "model.tflite")
    images = make_images(3)
    found = np.stack([classifier.logits(image[None].numpy()) for image in images])
    np.testing.assert_array_equal(found, LiteRt(done.path)(images))
