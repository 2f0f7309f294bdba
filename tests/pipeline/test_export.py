"""What a run exports: each network in each format, bundles of the files beside them."""

from types import SimpleNamespace

import pytest
import torch
from omegaconf import OmegaConf

from potstill.errors import DataError
from potstill.export import onnx
from potstill.integrity.sealed import read_sealed
from potstill.pipeline import export
from potstill.tasks.classification import Classification
from tests.support.exported_nets import CLASSES, FACTS, make_images, small
from tests.support.places import CONF

pytest.importorskip("onnxruntime")
pytest.importorskip("onnxscript")
EXPORTS = CONF / "export"


class Refused(torch.nn.Module):
    """Nothing that ONNX can express."""

    def forward(self, x):
        return x.mean((2, 3)) if x.sum() > 0 else x.amax((2, 3))


class Data:
    class_names, image_shape, image_size = CLASSES, (3, 16, 16), 16
    mean, std = FACTS["mean"], FACTS["std"]

    def batches(self):
        return [(make_images(), torch.arange(24) % 5, torch.arange(24))]

    val_dataloader = test_dataloader = batches


@pytest.fixture
def experiment(tmp_path):
    fitted = {name: SimpleNamespace(network=small()) for name in ("teacher", "student")}
    console = SimpleNamespace(print=lambda *_: None)
    given = {"data": Data(), "task": Classification(), "console": console}
    run = SimpleNamespace(cfg=None, folder=tmp_path, **given)
    stages = dict.fromkeys((*fitted, "later"), "")
    return SimpleNamespace(run=run, stages=stages, fitted=fitted)


def asked(experiment, *names):
    nodes = [OmegaConf.load(EXPORTS / f"{name}.yaml") for name in names]
    experiment.run.cfg = OmegaConf.create({"export": OmegaConf.merge(*nodes)})
    return export.export(experiment)


def test_the_bundle_is_made_of_the_file_beside_it(experiment, monkeypatch):
    converted, convert = [], onnx.convert
    monkeypatch.setattr(onnx, "convert", lambda *a: converted.append(1) or convert(*a))
    file, bundle = asked(experiment, "bundle", "onnx")
    assert converted == [1]
    assert [file["path"], bundle["path"]] == ["student.onnx", "student-bundle"]
    folder = experiment.run.folder / "export"
    assert read_sealed(folder / "exports.json") == {"files": [file, bundle]}
    model = folder / "student-bundle" / "model.onnx"
    assert model.read_bytes() == (folder / "student.onnx").read_bytes()
    hits = (small()(make_images()).argmax(1) == torch.arange(24) % 5).float().mean().item()
    assert file["accuracy"] == bundle["accuracy"] == pytest.approx(hits)
    assert (folder / "student-bundle" / "labels.txt").read_text("utf-8").split() == list(CLASSES)


def test_a_bundle_of_a_file_in_two_parts_is_scored_in_its_runtime(experiment):
    pytest.importorskip("openvino", reason="pip extra openvino")
    file, bundle = asked(experiment, "bundle", "openvino")
    assert (file["path"], file["beside"], bundle["beside"]) == ("student.xml", ["student.bin"], [])
    assert file["accuracy"] == bundle["accuracy"] is not None
    held = {path.name for path in (experiment.run.folder / "export" / bundle["path"]).iterdir()}
    assert {"model.xml", "model.bin"} < held


@pytest.mark.parametrize("others", [(), ("state_dict",)])
def test_a_bundle_without_a_file_for_it_writes_one(experiment, others):
    *_, record = asked(experiment, "bundle", *others)
    folder = experiment.run.folder / "export"
    assert (record["format"], record["runtime"]) == ("bundle", "ONNX Runtime")
    assert record["accuracy"] is not None
    assert (folder / "student-bundle" / "model.onnx").is_file()
    assert not (folder / "student.onnx").exists()


def test_what_is_refused_is_recorded_and_the_rest_is_written(experiment):
    experiment.fitted["later"] = SimpleNamespace(network=Refused())
    with pytest.raises(DataError, match=r"export=onnx: 2 of 4 files refused, first later: "):
        asked(experiment, "onnx", "bundle")
    records = read_sealed(experiment.run.folder / "export" / "exports.json")["files"]
    assert [bool(record["error"]) for record in records] == [False, False, True, True]
    names = sorted(path.name for path in (experiment.run.folder / "export").iterdir())
    assert names == ["exports.json", "student-bundle", "student.onnx", "student.onnx.sha256"]
