"""Stages after distillation: pruned in steps, quantized both ways, each an artifact and a row."""

import json

import pytest
import torch

from potstill.artifact.file import load_artifact, read_artifact
from potstill.errors import ConfigError
from potstill.measure.counts import count_macs
from potstill.pipeline.stages import ptq
from tests.pipeline.test_run import SMALL, UNCHECKED, ran

STAGES = [
    "+stage@stages.pruned=prune",
    "+stage@stages.int8-ptq=ptq",
    "+stage@stages.int8-qat=qat",
    "stages.pruned.transforms.prune.round_to=2",
    "stages.pruned.epochs=1",
    "stages.int8-ptq.transforms.quantize.n_batches=1",
    "stages.int8-ptq.transforms.quantize.max_drop=0",
    "stages.int8-qat.transforms.qat.max_drop=0",
    "stages.int8-qat.epochs=1",
    "stages.int8-qat.start=pruned",
]
NETWORKS = ["model@module.student=cifar_resnet8", "model@module.teacher=cifar_resnet8"]
RUN = [*SMALL, *UNCHECKED, *NETWORKS, "data.noise=10"]
IMAGES = torch.randn(8, 3, 16, 16, generator=torch.Generator().manual_seed(0))


@pytest.fixture(scope="module")
def compressed(tmp_path_factory):
    """One small run through every stage, its folder and its report."""
    folder = tmp_path_factory.mktemp("compressed") / "run"
    return folder, ran(folder, *RUN, *STAGES)


def plan_of(path):
    """Return the plan of channels in an artifact, its first transform."""
    return read_artifact(path).spec.transforms[0]["plan"]


def test_every_stage_is_a_row_and_an_artifact(compressed):
    folder, found = compressed
    names = ["teacher", "baseline", "student", "pruned", "int8-ptq", "int8-qat"]
    assert [row["name"] for row in found["rows"]] == names
    for name in names[1:]:
        network, artifact = load_artifact(folder / name / f"{name}.safetensors")
        assert network(IMAGES).shape == (8, 10)
        assert artifact.source["stage"] == name
        assert artifact.facts["preprocess"]["crop"] == 16
    rows = {row["name"]: row for row in found["rows"]}
    assert rows["int8-qat"]["size_bytes"] < 0.5 * rows["pruned"]["size_bytes"]
    assert rows["pruned"]["num_parameters"] < rows["student"]["num_parameters"]


def test_what_int8_costs_is_the_difference_of_two_rows_and_a_warning_is_reported(compressed):
    folder, found = compressed
    rows = {row["name"]: row["val_accuracy"] for row in found["rows"]}
    for name in ("int8-ptq", "int8-qat"):
        cost = json.loads((folder / name / "int8_cost.json").read_text())
        assert cost["drop"] == pytest.approx(100 * (rows["pruned"] - rows[name]))
        assert bool(cost["warning"]) == (cost["drop"] > 0)
        assert cost["warning"] in found["meta"].get("warnings", "")


def test_half_of_the_macs_are_left_after_three_steps(compressed):
    folder, _ = compressed
    macs = {
        name: count_macs(load_artifact(folder / name / f"{name}.safetensors")[0], (3, 16, 16))
        for name in ("student", "pruned-1", "pruned-2", "pruned", "int8-qat")
    }
    shares = {name: value / macs["student"] for name, value in macs.items()}
    assert 0.6 < shares["pruned-1"] <= 0.7
    assert 0.5 < shares["pruned-2"] <= 0.6
    assert 0.4 < shares["pruned"] <= 0.5
    assert shares["int8-qat"] == shares["pruned"]


def test_what_was_removed_is_in_the_artifact_and_in_the_checkpoint(compressed):
    folder, _ = compressed
    record = json.loads((folder / "pruned" / "pruned.json").read_text())
    assert plan_of(folder / "pruned" / "pruned.safetensors") == record["plan"]
    found = next((folder / "pruned" / "checkpoints").glob("*.ckpt"))
    state = torch.load(found, weights_only=True)["callbacks"]
    assert json.loads(state["RecordedPruning"]["pruned"])["plan"] == record["plan"]


def test_a_finished_run_does_nothing_twice(compressed, monkeypatch):
    folder, found = compressed
    monkeypatch.setattr("lightning.pytorch.Trainer.fit", lambda *_, **__: pytest.fail("trained"))
    monkeypatch.setattr(ptq, "calibrate", lambda prepared, images, _: len(images[0]) == 2)
    again = ran(folder, *RUN, *STAGES, "resume=true")
    for before, after in zip(found["rows"], again["rows"], strict=True):
        assert before["accuracy"] == after["accuracy"]
        assert before["size_bytes"] == after["size_bytes"]


def test_an_artifact_starts_a_new_experiment(compressed):
    folder, _ = compressed
    path = folder / "pruned" / "pruned.safetensors"
    student = ["model@module.student=artifact", f"module.student.path={path}", "baseline=false"]
    again = ran(folder.parent / "further", *RUN, *student, *STAGES[1:2])
    rows = {row["name"]: row for row in again["rows"]}
    wide = {row["name"]: row for row in compressed[1]["rows"]}
    assert rows["student"]["macs"] == wide["pruned"]["macs"]
    further = folder.parent / "further" / "int8-ptq" / "int8-ptq.safetensors"
    assert plan_of(further) == plan_of(path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("stages.pruned.transforms.prune.macs=1", "macs=1"),
        ("stages.pruned.transforms.prune.macs=0", "macs=0"),
        ("stages.pruned.transforms.prune.ratio=0.5", "target="),
        (
            "stages.pruned.transforms.prune.untouchable=[level9]",
            "untouchable=level9: no such layer",
        ),
        ("stages.int8-qat.transforms.qat.bits=3", "bits=3"),
        ("stages.int8-ptq.transforms.quantize.bits=3", "bits=3"),
        ("stages.int8-qat.start=int8-ptq", "is quantized by then"),
        ("+module.teacher.unused=1", "unused"),
    ],
)
def test_what_cannot_be_is_said_before_anything_is_trained(change, message, tmp_path, monkeypatch):
    monkeypatch.setattr("lightning.pytorch.Trainer.fit", lambda *_, **__: pytest.fail("trained"))
    with pytest.raises(ConfigError, match=message) as caught:
        ran(tmp_path / "run", *RUN, *STAGES, change)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("change", "which"),
    [
        (["trainer.max_epochs=3", "teacher.epochs=3"], r"stages\.pruned\.epochs=\d"),
        (["trainer.max_epochs=3", "teacher.epochs=1"], r"teacher\.epochs=1"),
        (["trainer.max_epochs=1"], r"trainer\.max_epochs=1"),
    ],
)
def test_a_schedule_must_fit_every_fit_of_the_run(change, which, tmp_path, monkeypatch):
    monkeypatch.setattr("lightning.pytorch.Trainer.fit", lambda *_, **__: pytest.fail("trained"))
    steps = ("scheduler@module.scheduler=step", "module.scheduler.milestones=[2]")
    with pytest.raises(ConfigError, match=rf"{which}: module\.scheduler\.milestones=\[2"):
        ran(tmp_path / "run", *RUN, *STAGES, *steps, *change)


def test_a_size_out_of_reach_names_the_smallest(tmp_path):
    size = [
        "stages.pruned.transforms.prune.macs=null",
        "stages.pruned.transforms.prune.size_mb=1e-4",
    ]
    with pytest.raises(ConfigError, match=r"size_mb=0.0001: the smallest .* is size_mb="):
        ran(tmp_path / "run", *RUN, *STAGES, *size)
