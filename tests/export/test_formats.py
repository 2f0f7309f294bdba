"""Table of formats: what is in it, and an exporter from outside with a runtime of its own."""

import json

import pytest
import torch
from torch import nn

from potstill.benchmark.open_file import open_file
from potstill.errors import ConfigError
from potstill.export import formats
from potstill.export.base import describe_file
from potstill.export.bundled import classify
from potstill.export.formats import FileExporter, exporter_for
from potstill.export.runtimes.base import Runtime
from tests.support.exported_nets import FACTS, make_images


class Matrix(Runtime):
    """One matrix as JSON, multiplied by plain torch."""

    name = "plain"

    def __init__(self, path, threads=1):
        about = json.loads(path.read_text())
        self.weight, self.about = torch.tensor(about["weight"]), about["about"]

    def __call__(self, images):
        return torch.as_tensor(images).flatten(1) @ self.weight.T

    @property
    def facts(self):
        return self.about


@pytest.fixture
def ours(monkeypatch):
    monkeypatch.setattr(formats, "_BY_SUFFIX", dict(formats.formats()))

    class Json(FileExporter):
        """Write the weight of a linear network as JSON."""

        suffix, engine, runtime = ".mat", "plain", Matrix

        def content(self, network, images, facts):
            about = json.loads(describe_file(facts, is_int8=False))
            return json.dumps({"weight": network[1].weight.tolist(), "about": about}).encode()

    return Json


def test_formats_are_those_with_a_runtime():
    engines = {suffix: exporter.engine for suffix, exporter in formats.formats().items()}
    expected = {".onnx": "onnxruntime", ".pte": "executorch", ".pt2": "torch.export"}
    assert engines == expected | {".tflite": "litert", ".xml": "openvino"}
    assert classify.RUNTIMES.keys() <= engines.keys()


def test_an_exporter_with_a_runtime_of_its_own(ours, tmp_path):
    network = nn.Sequential(nn.Flatten(), nn.Linear(3 * 16 * 16, 5, bias=False))
    images = make_images()
    done = ours()(network, tmp_path / "net", images, FACTS)
    assert (done.path.name, done.runtime, done.agreement) == ("net.mat", "plain", 1)
    assert exporter_for("plain") is ours
    opened = open_file(done.path)
    assert (opened.engine, opened.image_shape) == ("plain", (3, 16, 16))
    with torch.no_grad():
        torch.testing.assert_close(opened.logits(images), network(images))
    torch.testing.assert_close(opened.bind(images)(), opened.logits(images))


def test_an_unknown_engine_is_one_line():
    with pytest.raises(ConfigError, match=r"'plain' is none of eager, .*onnxruntime"):
        exporter_for("plain")


PLUGIN = '''
"""A format of somebody else's."""

from potstill.export.formats import FileExporter
from potstill.export.runtimes.base import Runtime


class Engine(Runtime):
    name = "theirs"


class Theirs(FileExporter):
    suffix, engine, runtime = ".theirs", "theirs", Engine
'''


def test_formats_of_plugins_are_known_where_nothing_was_exported(tmp_path, monkeypatch):
    monkeypatch.setattr(formats, "_BY_SUFFIX", {})
    (tmp_path / "their_format.py").write_text(PLUGIN)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("POTSTILL_PLUGINS", "their_format")
    assert exporter_for("theirs").__name__ == "Theirs"
