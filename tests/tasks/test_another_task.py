"""A task that is no classification, from a plugin: every part of a run without a line of src."""

import csv
import json
import math
import os
import re
import subprocess
import sys

import pytest
import torch
from omegaconf import OmegaConf
from safetensors import safe_open

from potstill.artifact.file import load_artifact
from potstill.benchmark.evaluate import HeldOut, fill_in
from potstill.benchmark.tables import Measured, score_table
from potstill.config.calls import check_calls
from potstill.errors import ConfigError
from potstill.pipeline import context
from potstill.pipeline.context import make_task
from potstill.pipeline.export import exporters
from potstill.report.command import main as report
from potstill.report.read import read_run
from potstill.tasks.base import check_task
from tests.lab.squares import Share, Squares
from tests.support.html_read import Page
from tests.support.places import CONF, ROOT

LAB = ROOT / "tests" / "lab"
COMMAND = ("--config-dir", str(LAB / "conf"), f"plugins=[{LAB / 'squares.py'}]", "threads=1")
QUICK = ("~stages.pruned", "~stages.int8", "export=[]", "baseline=false", "trainer.max_epochs=1")
NETWORKS = ("teacher", "baseline", "student", "pruned", "int8")


def train(folder, *overrides):
    """Run the command in a process of its own; a plugin is imported for good."""
    given = (*COMMAND, "experiment=squares", f"teacher.store_dir={folder.parent / 'teachers'}")
    command = [sys.executable, str(ROOT / "train.py"), *given, *overrides]
    environment = os.environ | {"PYTHONPATH": str(ROOT / "src"), "OMP_NUM_THREADS": "1"}
    return subprocess.run(
        command, env=environment, cwd=folder.parent, capture_output=True, text=True, check=False
    )


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """One run: teacher, student and baseline trained, pruned, trained for int8, exported."""
    folder = tmp_path_factory.mktemp("squares") / "run"
    done = train(folder, "select=best", f"hydra.run.dir={folder}")
    assert done.returncode == 0, done.stderr + done.stdout
    (folder / "printed.txt").write_text(done.stdout)
    return folder


@pytest.fixture(scope="module")
def data():
    sizes = {"image_size": 16, "train_size": 96, "test_size": 32, "val_size": 32}
    found = Squares(**sizes, mean=(0.5,) * 3, std=(0.5,) * 3, eval_batch_size=32)
    found.setup()
    return found


def errors(network, loader):
    """The error by hand."""
    with torch.no_grad():
        [(images, targets, _)] = loader
        return math.sqrt((network(images)[:, 0] - targets).square().mean().item())


def kept(folder, name):
    if name == "teacher":
        return next((folder.parent / "teachers").glob("*/teacher.safetensors"))
    return folder / name / f"{name}.safetensors"


def test_every_network_has_its_error_on_both_splits(folder, data):
    record = json.loads((folder / "report.json").read_text())
    assert tuple(row["name"] for row in record["rows"]) == NETWORKS
    for row in record["rows"]:
        assert not {"accuracy", "val_accuracy", "ece", "agreement"} & set(row)
        network, _ = load_artifact(kept(folder, row["name"]))
        assert row["rmse"] == pytest.approx(errors(network, data.test_dataloader()), rel=1e-4)
        assert row["val_rmse"] == pytest.approx(errors(network, data.val_dataloader()), rel=1e-4)
        assert (row["apart"] is None) is (row["name"] == "teacher")
    assert record["rows"][0]["rmse"] < data._splits["test"].targets.std()


def test_the_best_epoch_is_that_of_the_smallest_error(folder):
    best = torch.load(folder / "student/checkpoints/best.ckpt", weights_only=True)
    with (folder / "student" / "metrics.csv").open() as file:
        rows = [row for row in csv.DictReader(file) if row["val/rmse"]]
    found = min(rows, key=lambda row: float(row["val/rmse"]))
    assert best["global_step"] == int(found["step"]) + 1
    state = load_artifact(kept(folder, "student"))[0].state_dict()
    assert all(torch.equal(state[k], best["state_dict"][f"student.{k}"]) for k in state)
    names = {"val/loss", "val/rmse", "val/apart", "val/ema_rmse", "train/rmse", "train/fitnet"}
    assert names <= set(rows[0])
    assert not [name for name in rows[0] if "accuracy" in name]


def test_its_files_say_what_the_output_is_and_no_classes(folder):
    meaning = {"shape": ["batch", 1], "meaning": "share of the image, 0 to 1"}
    for name in NETWORKS:
        with safe_open(kept(folder, name), "pt") as file:
            facts = json.loads(file.metadata()["potstill"])
        assert facts["output"] == meaning
        assert "class_names" not in facts
    session = pytest.importorskip("onnxruntime").InferenceSession(folder / "export" / "int8.onnx")
    texts = session.get_modelmeta().custom_metadata_map
    assert json.loads(texts["preprocess"])["output"] == meaning
    assert "labels" not in texts


def test_exports_are_judged_by_the_task(folder):
    exports = json.loads((folder / "export" / "exports.json").read_text())["files"]
    rows = {row.name: row for row in read_run(folder).rows}
    assert [record["path"] for record in exports] == ["student.onnx", "pruned.onnx", "int8.onnx"]
    for record in exports:
        assert record["agreement"] == 1
        assert record["rmse"] == pytest.approx(rows[record["name"]].score("rmse"), abs=0.01)


def test_the_page_has_its_columns_and_charts_and_nothing_of_classes(folder):
    assert report([str(folder)]) == 0  # without the plugin
    html = (folder / "report.html").read_text()
    page = Page(re.sub("<details>.*?</details>", "", html, flags=re.DOTALL))  # the config
    table = page.table("RMSE on the test set")
    assert table[0][:4] == ["network", "stage", "RMSE", "change"]
    assert [row[0] for row in table[1:]] == list(NETWORKS)
    assert page.table("distance from the teacher")[0][1:3] == ["validation", "from teacher"]
    assert "closest" in page.text
    assert "same share within the tolerance" in page.text
    assert page.text.count("Predicted against true") == 1
    for word in ("ccuracy", "onfusion", "ECE", "class", "points"):
        assert word not in page.text, word
    assert "RMSE" in (folder / "printed.txt").read_text()
    assert "squared error" not in (folder / "printed.txt").read_text()
    assert "| name | stage | RMSE | parameters |" in (folder / "report.md").read_text()


def test_files_are_measured_by_it(folder, data):
    row = Measured("student", "eager", 1, 1)
    held_out = HeldOut(data, Share(tolerance=0.05))
    fill_in([(row, kept(folder, "student"))], held_out, kept(folder, "teacher"), None)
    network, teacher = (load_artifact(kept(folder, name))[0] for name in ("student", "teacher"))
    assert row.scores["rmse"] == pytest.approx(errors(network, data.test_dataloader()), rel=1e-4)
    [(images, _, _)] = data.test_dataloader()
    with torch.no_grad():
        assert row.scores["apart"] == pytest.approx(
            (network(images) - teacher(images)).abs().mean()
        )
    plain = row.to_json()
    assert plain["rmse"] == row.scores["rmse"]
    assert plain["robust_rmse"] is None
    assert "accuracy" not in plain
    headings = [str(column.header) for column in score_table([row]).columns]
    assert headings == ["", "RMSE", "from teacher", "corrupted"]


@pytest.mark.slow
def test_a_sweep_is_ranked_by_the_smallest_error(folder):
    sweep = folder.parent / "sweep"
    rates = "module.optimizer.lr=0.01,0.000001"
    done = train(sweep, *QUICK, rates, f"hydra.sweep.dir={sweep}", "--multirun")
    assert done.returncode == 0, done.stderr + done.stdout
    assert report([str(sweep)]) == 0
    runs = [read_run(path) for path in sorted(sweep.glob("[01]"))]
    known = [run.row("student").score("val_rmse") for run in runs]
    page = Page((sweep / "report.html").read_text())
    best = ["0.01", "1e-06"][known.index(min(known))]
    assert f"Best by validation: module.optimizer.lr={best}: {min(known):.3f}" in page.text
    assert [row[1] for row in page.table("Chosen by")[1:]] == [f"{x:.3f}" for x in sorted(known)]
    assert "RMSE of student" in page.text
    assert "ccuracy" not in page.text
    folders = [str(sweep / "0"), str(sweep / "1")]
    assert report([*folders, "--out", str(sweep / "both.html")]) == 0
    both = Page((sweep / "both.html").read_text())
    assert both.table("RMSE on the test set")[0][3:5] == ["RMSE", "change"]
    assert "ccuracy" not in both.text


def settings(**changes):
    """What of a config goes with a task or not, around tests.lab's."""
    task = {"_target_": "potstill.tasks.classification.Classification"}
    given = {"task": task, "teacher": {"accuracy": None}, "budget": None, "export": None}
    return OmegaConf.create(given | changes)


def test_classes_are_missed_before_training(data):
    with pytest.raises(ConfigError, match="data=Squares: has no classes, which task classificat"):
        make_task(settings(), data)
    bundle = OmegaConf.load(CONF / "export" / "bundle.yaml")
    with pytest.raises(ConfigError, match="export=bundle: names classes, and task share has"):
        exporters(settings(export=bundle), Share(0.05))
    with pytest.raises(
        ConfigError, match=r"data\.mixup=0\.5: mixes classes, and the data has none"
    ):
        Squares(train_size=9, test_size=9, image_size=16, mixup=0.5)


@pytest.mark.parametrize(
    ("changes", "key"),
    [
        ({"teacher": {"accuracy": 0.9}}, r"teacher\.accuracy=0\.9"),
        ({"budget": {"accuracy_drop": 1}}, r"budget\.accuracy_drop=1"),
    ],
)
def test_an_accuracy_says_nothing_where_another_score_decides(data, monkeypatch, changes, key):
    monkeypatch.setattr(context, "instantiate", lambda _: Share(0.05))
    with pytest.raises(ConfigError, match=f"{key}: task share is judged by RMSE"):
        make_task(settings(**changes), data)


def test_a_setting_that_the_task_does_not_read_is_refused(folder):
    done = train(folder.parent / "wrong", "module.label_smoothing=0.1")
    assert done.returncode == 2
    assert done.stderr.startswith(
        "error: module.label_smoothing=0.1: the task of this run does not"
    )


def test_what_is_no_task_is_refused():
    with pytest.raises(ConfigError, match=r"task=Squares: is no task\. Fix: a subclass of"):
        check_task(Squares(train_size=9, test_size=9, image_size=16))
    wrong = {"task": {"_target_": "potstill.heads.kd.KD"}}
    with pytest.raises(ConfigError, match=r"task\._target_=potstill\.heads\.kd\.KD: .*task"):
        check_calls(wrong)
