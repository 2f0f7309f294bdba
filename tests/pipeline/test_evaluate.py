"""What a study's networks are tested on, what is measured of them, and what is written."""

import io
import json
import shlex
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from omegaconf import OmegaConf
from rich.console import Console
from torch import nn

from potstill.data.fake import Fake
from potstill.models.tiny_cnn import tiny_cnn
from potstill.pipeline import evaluate
from potstill.pipeline.experiment import Experiment
from potstill.quantization.convert import convert
from potstill.quantization.post_training import quantize_static
from potstill.report.thumbnail import data_uri
from potstill.tasks.classification import Classification

OVERRIDES = ["temperature=2", "budget={size_mb: 0.1}", "seed=3"]


def trained(seed):
    """A network with batch-norm statistics of its own, as training leaves it."""
    torch.manual_seed(seed)
    network = tiny_cnn(3, width=4)
    nn.init.normal_(network.linear.weight)  # so that answers differ from image to image
    for _ in range(3):
        network(torch.randn(8, 3, 16, 16))
    return network.eval()


def quantized(network):
    return convert(quantize_static(network, [torch.randn(8, 3, 16, 16)]))


def fitted(network, folder):
    folder.mkdir(parents=True)
    return SimpleNamespace(
        network=network, folder=folder, epochs=2, seconds=1.5, metrics=[], loggers=[]
    )


@pytest.fixture(scope="module")
def experiment(tmp_path_factory):
    data = Fake(num_classes=3, image_size=16, train_size=60, test_size=30, val_size=12, noise=90)
    data.setup()
    student = trained(1)
    networks = {"teacher": trained(0), "student": student, "int8": quantized(student)}
    run = SimpleNamespace(
        data=data,
        folder=tmp_path_factory.mktemp("results") / "run",
        cfg=OmegaConf.create(
            {"name": "n", "seed": 3, "select": "last", "budget": {"size_mb": 0.1}, "lr": "${seed}"}
            | {"module": {"heads": {"kd": None}}}
        ),
        task=Classification(),
        device=torch.device("cpu"),
        stages=(SimpleNamespace(name="int8", what="ptq"),),
        console=Console(file=io.StringIO(), width=100),
    )
    run.settings = OmegaConf.to_container(run.cfg, resolve=True)
    experiment = Experiment(run)
    experiment.fitted = {name: fitted(net, run.folder / name) for name, net in networks.items()}
    cost = json.dumps({"drop": 3.0, "warning": "stages.int8: [it] costs 3"})
    (run.folder / "int8" / "int8_cost.json").write_text(cost)
    (run.folder / "student" / "int8_cost.json").write_text('{"drop": 0.0, "warning": ""}')
    reported(experiment)
    return experiment


def reported(experiment):
    with pytest.MonkeyPatch.context() as patch:
        hydra = SimpleNamespace(overrides=SimpleNamespace(task=OVERRIDES))
        patch.setattr(evaluate.HydraConfig, "get", lambda: hydra)
        patch.setattr("sys.argv", ["somewhere/train.py", *OVERRIDES])
        evaluate.report(experiment)
    return json.loads((experiment.run.folder / "report.json").read_text())


@pytest.fixture
def record(experiment):
    return json.loads((experiment.run.folder / "report.json").read_text())


def by_hand(network, photos, mean, std):
    """Accuracy without a loader: bytes, scaled and normalised in NumPy."""
    images = (photos.images.numpy().astype(np.float32) / 255 - mean[0]) / std[0]
    with torch.no_grad():
        said = network(torch.from_numpy(images)).argmax(1)
    return (said == photos.targets).double().mean().item()


def test_accuracies_are_those_of_the_test_and_the_validation_split(experiment, record):
    assert [row["name"] for row in record["rows"]] == ["teacher", "student", "int8"]
    for row in record["rows"]:
        network = experiment.fitted[row["name"]].network
        for key, split in (("accuracy", "test"), ("val_accuracy", "val")):
            photos = experiment.run.data._splits[split]
            right = by_hand(network, photos, experiment.run.data.mean, experiment.run.data.std)
            assert row[key] == pytest.approx(right), (row["name"], key)


def test_a_teacher_is_not_compared_with_itself(record):
    teacher, student, _ = record["rows"]
    assert (teacher["agreement"], teacher["divergence"]) == (None, None)
    assert 0 <= student["agreement"] <= 1
    assert student["divergence"] > 0


def test_all_rows_are_timed_by_one_engine_where_one_is_in_integers(record):
    assert {row["latency_engine"] for row in record["rows"]} == {"onnxruntime"}
    assert all(row["latency_ms"] > 0 for row in record["rows"])


def test_integers_have_no_eager_latency(experiment, monkeypatch):
    monkeypatch.setattr(evaluate, "in_onnxruntime", lambda *_: {})
    _, student, integers = reported(experiment)["rows"]
    assert student["latency_ms"] > 0
    assert student["latency_engine"] == "eager"
    assert (integers["latency_ms"], integers["latency_engine"]) == (None, None)


def test_integers_have_the_weights_of_the_network_with_batch_norm_folded_in():
    network = trained(1)
    convolutions = [m for m in network.modules() if isinstance(m, nn.Conv2d | nn.Linear)]
    folded = sum(m.weight.numel() + m.weight.shape[0] for m in convolutions)
    found = evaluate.costs(quantized(network), (3, 16, 16))
    assert found["num_parameters"] == folded
    assert found["macs"] == evaluate.costs(network, (3, 16, 16))["macs"]


def test_the_page_is_about_the_last_network(record, experiment):
    assert record["subject"] == "int8"
    network = experiment.fitted["int8"].network
    photos = experiment.run.data._splits["test"]
    right = by_hand(network, photos, experiment.run.data.mean, experiment.run.data.std)
    confusion = record["confusion"]
    assert sum(confusion["correct"]) / sum(confusion["support"]) == pytest.approx(right)
    assert (experiment.run.folder / "report.html").is_file()


def test_examples_are_images_of_the_test_set(record, experiment):
    assert record["examples"]
    for example in record["examples"]:
        image = experiment.run.data._splits["test"].images[example["position"]] / 255
        assert example["image"] == data_uri(image)
        target = experiment.run.data._splits["test"].targets[example["position"]]
        assert example["target"] == f"class{target}"
        assert example["ours"][0] != example["theirs"][0]


def test_the_command_can_be_pasted_and_the_config_is_resolved(record):
    command = shlex.split(record["meta"]["command"])
    assert command == ["python", "train.py", *OVERRIDES]
    assert record["meta"]["overrides"] == OVERRIDES
    assert record["config"]["lr"] == 3
    budget = {"size_mb": 0.1, "latency_ms": None, "accuracy_drop": None}
    assert record["meta"]["budget"] == budget


def test_what_was_tested_on_is_recorded(record, experiment):
    meta = record["meta"]
    assert (meta["dataset"], meta["num_test"], meta["image_size"]) == ("Fake", 30, 16)
    assert meta["data_fingerprint"] == experiment.run.data.fingerprint


def test_what_stages_warned_of_is_said_again_and_kept(experiment, record):
    printed = experiment.run.console.file.getvalue()
    assert "warning   stages.int8: [it] costs 3" in printed
    assert record["meta"]["warnings"] == "stages.int8: [it] costs 3"
    for page in ("report.md", "report.html"):
        assert "[it] costs 3" in (experiment.run.folder / page).read_text()


def test_the_console_gets_the_table_and_the_address(experiment):
    printed = experiment.run.console.file.getvalue()
    assert "int8" in printed
    assert printed.rstrip().endswith("report.html")
