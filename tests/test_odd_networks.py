"""Networks of several outputs, of shared and of computed weights, through all that there is."""

import json
import subprocess
import sys
from functools import partial

import pytest
import torch
from safetensors import safe_open
from torch import nn

from potstill.artifact.file import Artifact, load_artifact, save_artifact
from potstill.artifact.spec import ModelSpec
from potstill.benchmark.open_file import open_file
from potstill.config import plugins
from potstill.data.fake import Fake
from potstill.export.onnx import Onnx
from potstill.export.state_dict import StateDict
from potstill.heads.fitnet import FitNet
from potstill.heads.kd import KD
from potstill.measure.counts import is_quantized
from potstill.models.weights import shared_names
from potstill.pipeline.stages.prune_channels import PruneChannels
from potstill.pipeline.stages.qat import QuantizationAwareTraining
from potstill.training.module import DistillationModule
from tests.oddlab.nets import Auxiliary, InDict, Tied
from tests.support.places import ROOT

LAB = ROOT / "tests" / "oddlab"
NETS = {"InDict": InDict, "Tied": Tied, "Auxiliary": Auxiliary}
SHAPE, CLASSES = (3, 16, 16), 4
FACTS = {
    "class_names": list("abcd"),
    "mean": [0.5, 0.5, 0.5],
    "std": [0.25, 0.25, 0.25],
    "image_shape": list(SHAPE),
    "preprocess": {"resize": 16, "crop": 16},
}


def data():
    made = Fake(num_classes=CLASSES, image_size=16, batch_size=8, train_size=40, val_size=16)
    made.setup("fit")
    return made


def module_of(student, teacher=None, heads=None):
    optimizer = partial(torch.optim.SGD, lr=0.05)
    return DistillationModule(student, teacher, heads, optimizer=optimizer, image_shape=SHAPE)


class Plain(nn.Module):
    """The logits of another network, by another way."""

    def __init__(self, network, logits):
        super().__init__()
        self.network, self.logits = network, logits

    def forward(self, x):
        return self.logits(self.network(x))


LOGITS = {
    "InDict": lambda found: found["logits"],
    "Tied": lambda found: found,
    "Auxiliary": lambda found: getattr(found, "logits", found),
}


@pytest.mark.parametrize("name", NETS)
def test_distilling_does_what_it_does_to_a_network_of_logits_alone(name, trainer):
    ends = []
    for plain in (False, True):
        torch.manual_seed(0)
        student, teacher = NETS[name](CLASSES), InDict(CLASSES, 16)
        kept, inside = student, "network." if plain else ""
        if plain:
            student, teacher = Plain(student, LOGITS[name]), Plain(teacher, LOGITS["InDict"])
        heads = {"kd": KD(), "fitnet": FitNet(f"{inside}body", f"{inside}body")}
        trainer(max_epochs=2).fit(module_of(student, teacher, heads), datamodule=data())
        ends.append(kept.state_dict())
    for key, value in ends[0].items():
        assert torch.equal(value, ends[1][key])


@pytest.fixture
def lab(monkeypatch):
    monkeypatch.setenv(plugins.VARIABLE, "")
    plugins.use([str(LAB)])


@pytest.mark.filterwarnings("ignore:.*parametrized weights of stem are")
@pytest.mark.parametrize("name", NETS)
def test_a_network_is_pruned_quantized_kept_and_exported(name, trainer, tmp_path, lab):
    pytest.importorskip("onnxscript")
    torch.manual_seed(0)
    images = next(iter(data().val_dataloader()))[0]
    spec = ModelSpec(f"oddlab:{name}", {"num_classes": CLASSES})
    student = NETS[name](CLASSES)
    for stage in (PruneChannels(ratio=0.5, round_to=1, first=None), QuantizationAwareTraining()):
        module = module_of(student.train())
        trainer(callbacks=[stage]).fit(module, datamodule=data())
        student = module.student.eval()
        if place := getattr(student, "place", None):
            spec = spec.then({"kind": "select_logits", "place": place})
        spec = spec.then(stage.describe())
        file = save_artifact(tmp_path / f"{name}.safetensors", student, Artifact(spec, FACTS))
        again, _ = load_artifact(file)
        wanted = student(images)
        assert wanted.shape == (len(images), CLASSES)
        assert torch.equal(again(images), wanted)
        assert torch.allclose(open_file(file).logits(images), wanted, atol=1e-5)
        assert shared_names(again) == shared_names(student)
        assert StateDict()(student, tmp_path / "export", images, FACTS).agreement == 1
    assert is_quantized(student)
    assert student.head.weight.shape[1] < NETS[name](CLASSES).head.in_features
    assert Onnx()(student, tmp_path / "export", images, FACTS).agreement >= 0.95


def test_shared_weights_are_in_a_file_once_and_shared_again(tmp_path, lab, trainer):
    torch.manual_seed(0)
    student = Tied(CLASSES)
    trainer(max_epochs=1).fit(module_of(student), datamodule=data())
    assert student.first.weight is student.second.weight
    spec = ModelSpec("oddlab:Tied", {"num_classes": CLASSES})
    file = save_artifact(tmp_path / "tied.safetensors", student, Artifact(spec, FACTS))
    with safe_open(file, "pt") as opened:
        names = set(opened.keys())
    assert set(student.state_dict()) - names == {"second.weight"}
    again, _ = load_artifact(file)
    assert again.first.weight is again.second.weight
    assert torch.equal(again.first.weight, student.first.weight)
    images = torch.randn(2, *SHAPE)
    assert torch.equal(again(images), student.eval()(images))


def test_weights_computed_by_a_norm_train_and_come_back(tmp_path, lab, trainer):
    torch.manual_seed(0)
    student = Tied(CLASSES)
    before = student.stem.parametrizations.weight.original.detach().clone()
    trainer(max_epochs=1).fit(module_of(student), datamodule=data())
    assert not torch.equal(student.stem.parametrizations.weight.original, before)
    spec = ModelSpec("oddlab:Tied", {"num_classes": CLASSES})
    file = save_artifact(tmp_path / "tied.safetensors", student.eval(), Artifact(spec, FACTS))
    again, _ = load_artifact(file)
    largest = torch.linalg.matrix_norm(again.stem.weight.flatten(1), 2)
    assert torch.equal(again.stem.weight, student.stem.weight)
    assert largest.item() == pytest.approx(1, abs=0.1)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["in_dict", "tied", "auxiliary"])
def test_a_run_takes_such_networks_through_its_stages(name, tmp_path):
    settings = [
        f"plugins=[{LAB}]", "~experiment", "data=fake", f"model@module.student={name}",
        "model@module.teacher=in_dict", "+module.teacher.output=logits", "trainer.max_epochs=1",
        "teacher.epochs=1", "teacher.store_dir=teachers", "baseline=false", "hydra.run.dir=run",
        "callbacks.teacher_check=null", "trainer.accelerator=cpu", "+stage@stages.pruned=prune",
        "stages.pruned.epochs=1", "stages.pruned.transforms.prune.round_to=2",
        "stages.pruned.transforms.prune.first=null", "stages.pruned.transforms.prune.then=null",
        "+stage@stages.int8=qat", "stages.int8.epochs=1", "+stage@stages.ptq=ptq",
        "+stages.ptq.start=pruned", "export=[onnx,executorch]",
    ]  # fmt: skip
    command = [sys.executable, str(ROOT / "train.py"), "--config-dir", str(LAB / "conf")]
    done = subprocess.run([*command, *settings], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    found = json.loads((tmp_path / "run" / "export" / "exports.json").read_text())
    records = found["files"]
    assert len(records) == 2 * 4
    assert min(record["agreement"] for record in records) > 0.9
    source = {"env": {"POTSTILL_PLUGINS": str(LAB), "PYTHONPATH": str(ROOT / "src")}}
    measured = subprocess.run(
        [sys.executable, "-m", "potstill.benchmark", "run/int8/int8.safetensors"],
        cwd=tmp_path, capture_output=True, text=True, **source,
    )  # fmt: skip
    assert measured.returncode == 0, measured.stderr
