"""Whole runs: every experiment file on small stand-ins, the report, resuming, interrupts."""

import csv
import json
import os
import signal

import lightning.pytorch as pl
import pytest
import torch
from hydra import compose, initialize_config_dir
from hydra.core.hydra_config import HydraConfig
from omegaconf import OmegaConf, open_dict
from safetensors.torch import load_file

from potstill.config.instantiate import instantiate
from potstill.config.validate import validate
from potstill.errors import ConfigError, DataError, Interrupted
from potstill.integrity.sealed import read_sealed
from potstill.models.weights import load_weights
from potstill.pipeline import fit
from potstill.pipeline.experiment import is_trained
from potstill.pipeline.run import run
from tests.support.places import CONF

EXPERIMENTS = sorted(path.stem for path in (CONF / "experiment").glob("*.yaml"))
SMALL = [
    "data=fake",
    "data.image_size=16",
    "data.batch_size=8",
    "data.eval_batch_size=32",
    "data.val_size=32",
    "data.train_size=96",
    "data.test_size=32",
    "trainer.max_epochs=1",
    "teacher.epochs=1",
    "trainer.accelerator=cpu",
    "+trainer.limit_train_batches=1",
    "+trainer.enable_progress_bar=false",
    "~callbacks.progress",
]
# Fake images teach a teacher nothing in one batch; the check would say so.
UNCHECKED = ["callbacks.teacher_check=null"]


def composed(*overrides):
    with initialize_config_dir(str(CONF), version_base="1.3"):
        return compose("train", list(overrides), return_hydra_config=True)


def ran(folder, *overrides):
    """Run a command in this process, in `folder`, and return its report."""
    cfg = composed(*overrides, f"teacher.store_dir={folder.parent / 'teachers'}")
    with open_dict(cfg):
        cfg.hydra.runtime.output_dir = str(folder)
    whole, cfg = cfg, OmegaConf.masked_copy(cfg, [key for key in cfg if key != "hydra"])
    folder.mkdir(exist_ok=True)
    with pytest.MonkeyPatch.context() as patch:  # exporting for a clock is tests/test_results's
        patch.setattr("potstill.pipeline.evaluate.in_onnxruntime", lambda *_: {})
        patch.setattr(HydraConfig.instance(), "cfg", HydraConfig.instance().cfg)
        HydraConfig.instance().set_config(whole)
        run(cfg)
    return json.loads((folder / "report.json").read_text())


def stand_ins(experiment):
    cfg = composed(f"experiment={experiment}")
    networks = ["student", "teacher"] if cfg.module.get("heads") else ["student"]
    others = ["export=[]"] if cfg.export else []
    if cfg.module.student.stem != "auto":
        others.append("module.student.stem=auto")
    return [*(f"model@module.{network}=cifar_resnet8" for network in networks), *others]


def metrics_of(folder):
    with (folder / "metrics.csv").open() as file:
        return list(csv.DictReader(file))


# One of a kind stays out of the slow ones.
ALIKE = (
    *("compress_r50_r18", "compress_r56_r20", "kd_r34_r18", "kd_r56_r20", "teacher_r50"),
    *("int8_mobilenet_v2", "int8_efficientnet_b0"),
)


@pytest.mark.parametrize(
    "experiment",
    [pytest.param(e, marks=pytest.mark.slow if e in ALIKE else ()) for e in EXPERIMENTS],
)
def test_every_experiment_runs_a_batch(experiment, tmp_path):
    found = ran(
        tmp_path / "run", f"experiment={experiment}", *stand_ins(experiment), *SMALL, *UNCHECKED
    )
    names = [row["name"] for row in found["rows"]]
    after = [str(name) for name in composed(f"experiment={experiment}").stages]
    assert names in (["teacher", "baseline", "student", *after], ["student", *after])
    assert len(load_file(tmp_path / "run" / "student" / "student.safetensors")) > 0


@pytest.mark.parametrize("experiment", [e for e in EXPERIMENTS if e.endswith(("r18", "r50"))])
def test_experiments_compose_with_imagenet(experiment):
    cfg = composed(f"experiment={experiment}", "data=imagenet")
    validate(cfg)
    assert cfg.module.student.num_classes == 1000


def test_experiments_are_short():
    for experiment in EXPERIMENTS:
        lines = (CONF / "experiment" / f"{experiment}.yaml").read_text().splitlines()
        assert len(lines) < 30, experiment


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """One small run that learns something, its folder and its report."""
    folder = tmp_path_factory.mktemp("finished") / "run"
    small = [o for o in SMALL if "limit" not in o and "epochs" not in o]
    few = ["trainer.max_epochs=2", "teacher.epochs=3", "data.noise=10"]
    networks = ["model@module.student=tiny_cnn", "model@module.teacher=tiny_cnn"]
    return folder, ran(folder, *networks, *small, *few), [*networks, *small, *few]


def test_the_run_leaves_what_it_promises(finished):
    folder, found, _ = finished
    for name in ("config.yaml", "report.json", "report.md", "metrics.csv"):
        assert (folder / name).is_file(), name
    for name in ("curves.png", "confusion.png", "reliability.png"):
        assert (folder / name).read_bytes().startswith(b"\x89PNG"), name
    checkpoints = sorted((folder / "student" / "checkpoints").glob("*.ckpt"))
    assert checkpoints[0].name == "best.ckpt"
    assert len(checkpoints) > 1
    for path in checkpoints:
        state = torch.load(path, weights_only=True)
        assert not [key for key in state["state_dict"] if "teacher" in key]
    keys = {"name", "stage", "accuracy", "num_parameters", "macs", "size_bytes", "latency_ms"}
    assert all(keys <= set(row) for row in found["rows"])
    assert [row["stage"] for row in found["rows"]] == ["teacher", "baseline", "distil"]
    assert found["meta"]["seed"] == 0


def test_the_table_is_the_test_accuracy_of_the_saved_weights(finished):
    folder, found, overrides = finished
    cfg = composed(*overrides)
    data = instantiate(cfg.data)
    data.setup()
    for row in found["rows"]:
        name = row["name"]
        network = instantiate(cfg.module[name if name == "teacher" else "student"])
        load_weights(network, folder / name / f"{name}.safetensors")
        network.eval()
        right = [(network(i).argmax(1) == t).sum().item() for i, t, _ in data.test_dataloader()]
        assert row["accuracy"] == pytest.approx(sum(right) / 32, abs=1e-6)


def test_metrics_hold_every_term_of_every_epoch(finished):
    folder, _, _ = finished
    rows = metrics_of(folder)
    for name in ("train/loss", "train/task", "train/kd", "train/kd_weighted", "val/accuracy"):
        assert sum(bool(row[name]) for row in rows) == 2, name
    assert any(row["teacher/val_accuracy"] for row in rows)


def test_a_second_run_reuses_the_teacher(finished, capsys):
    folder, found, overrides = finished
    free = ("trainer.log_every_n_steps=3", "+trainer.limit_test_batches=null")  # teach it nothing
    again = ran(folder.parent / "again", *overrides, *free)
    assert "kept from an earlier run" in capsys.readouterr().out.replace("\n", " ")
    assert not (folder.parent / "again" / "teacher" / "teacher.safetensors").exists()
    first, second = found["rows"], again["rows"]
    assert [row["accuracy"] for row in first] == [row["accuracy"] for row in second]


def test_a_store_that_cannot_be_is_refused_before_the_teacher_is_trained(tmp_path, finished):
    _, _, overrides = finished
    more = ("data.mixup=0.2", "teacher.store=refresh", f"teacher.store_dir={tmp_path / 'new'}")
    with pytest.raises(ConfigError, match=r"teacher\.store=refresh: no two epochs show the same"):
        ran(tmp_path / "run", *overrides, *more)
    assert not (tmp_path / "new").exists()


def test_resuming_a_finished_run_trains_nothing(finished, monkeypatch):
    folder, found, overrides = finished
    monkeypatch.setattr(pl.Trainer, "fit", lambda *_, **__: pytest.fail("trained again"))
    again = ran(folder, *overrides, "resume=true")
    accuracies = [[row["accuracy"] for row in report["rows"]] for report in (found, again)]
    assert accuracies[0] == accuracies[1]


def test_a_run_of_an_older_version_is_not_resumed(finished, tmp_path):
    folder, _, overrides = finished
    old = tmp_path / "old"
    old.mkdir()
    identity = read_sealed(folder / "identity.json")
    assert identity["module._target_"] == "DistillationModule"  # a name: modules may move
    identity["module._target_"] = "potstill.module.DistillationModule"
    (old / "identity.json").write_text(json.dumps(identity))
    with pytest.raises(ConfigError, match="was begun by an older potstill") as caught:
        ran(old, *overrides, "resume=true")
    assert "\n" not in str(caught.value)


class Stop(pl.Callback):
    """Send a signal to this process in the middle of the student's training."""

    def __init__(self, number, step):
        self.number, self.step = number, step

    def on_train_batch_start(self, trainer, pl_module, *_):
        if pl_module.teacher is not None and trainer.global_step == self.step:
            os.kill(os.getpid(), self.number)


@pytest.mark.parametrize(
    ("number", "code"),
    [(signal.SIGTERM, 143), pytest.param(signal.SIGINT, 130, marks=pytest.mark.slow)],
)
@pytest.mark.parametrize("step", [pytest.param(3, marks=pytest.mark.slow), 7])
def test_an_interrupted_run_goes_on_to_the_same_end(
    finished, tmp_path, monkeypatch, number, code, step
):
    folder, found, overrides = finished
    make_trainer = fit.make_trainer

    def with_stop(*given):
        trainer = make_trainer(*given)
        trainer.callbacks.insert(0, Stop(number, step))
        return trainer

    place = folder.parent / f"interrupted-{code}-{step}"
    with monkeypatch.context() as patched:
        patched.setattr(fit, "make_trainer", with_stop)
        with pytest.raises(Interrupted, match=f"step {step + 1}, saved") as caught:
            ran(place, *overrides)
    assert caught.value.exit_code == code
    again = ran(place, *overrides, "resume=true")
    mine, theirs = (
        load_file(where / "student" / "student.safetensors") for where in (place, folder)
    )
    assert all(torch.equal(mine[key], theirs[key]) for key in theirs)
    accuracies = [[row["accuracy"] for row in report["rows"]] for report in (found, again)]
    assert accuracies[0] == accuracies[1]
    steps = [row["step"] for row in metrics_of(place)]
    assert len(steps) == len(set(steps))


def test_a_layer_that_does_not_exist_is_found_before_the_teacher_is_trained(tmp_path, monkeypatch):
    monkeypatch.setattr(pl.Trainer, "fit", lambda *_, **__: pytest.fail("trained"))
    wrong = ["head@module.heads=[kd,fitnet]", "module.heads.fitnet.student=conv9"]
    with pytest.raises(ConfigError, match=r"^module\.heads\.fitnet\.student=conv9: no such"):
        ran(tmp_path / "run", *wrong, *SMALL)
    assert [path.name for path in (tmp_path / "run").iterdir()] == [".lock"]


def test_a_teacher_of_other_classes_is_refused(finished, tmp_path):
    folder, found, overrides = finished
    weights = folder / "teacher" / "teacher.safetensors"
    digits = [o for o in overrides if not o.startswith("data")]
    small = ["data.image_size=16", "data=digits", f"module.teacher.weights={weights}"]
    with pytest.raises(DataError, match="knows other classes, 'class0' where the data has '0'"):
        ran(tmp_path / "run", *digits, *small)
    again = ran(folder.parent / "given", *overrides, f"module.teacher.weights={weights}")
    assert again["rows"][0]["epochs"] == 0
    assert again["meta"]["teacher_sha256"] == found["meta"]["teacher_sha256"]


@pytest.mark.parametrize(
    ("weights", "num_classes", "trained"),
    [
        (None, 10, False),
        ("teacher.safetensors", 10, True),
        ("IMAGENET1K_V2", 1000, True),
        ("IMAGENET1K_V2", 10, False),  # its classifier is fresh
    ],
)
def test_a_teacher_that_knows_the_task_is_not_trained_again(weights, num_classes, trained):
    node = OmegaConf.create({"weights": weights, "num_classes": num_classes})
    assert is_trained(node) is trained


def test_more_than_one_process_is_refused(tmp_path):
    with pytest.raises(ConfigError, match=r"trainer\.devices=2.*: started as 1 process"):
        ran(tmp_path / "run", *SMALL, "trainer.devices=2", "+trainer.strategy=ddp")


def test_the_best_epoch_can_be_chosen(finished, tmp_path):
    folder, _, overrides = finished
    ran(folder.parent / "best", *overrides, "select=best", "baseline=false")
    best = folder.parent / "best" / "student"
    state = torch.load(best / "checkpoints" / "best.ckpt", weights_only=True)["state_dict"]
    chosen = load_file(best / "student.safetensors")
    assert all(torch.equal(value, state[f"student.{key}"]) for key, value in chosen.items())


FEW = (*SMALL, *UNCHECKED, "data.labels_per_class=3", "data.num_classes=4")


def test_few_labels(tmp_path):
    """The teacher is the one of all labels; its row says no less; student and baseline differ."""
    few = ran(tmp_path / "few", *FEW)
    assert few["meta"]["data"].endswith("labels of 12 training images")
    everything = ran(tmp_path / "all", *(key for key in FEW if "labels" not in key))
    assert few["meta"]["teacher_sha256"] == everything["meta"]["teacher_sha256"]
    for name in ("student", "baseline"):
        ours, theirs = (
            load_file(tmp_path / run / name / f"{name}.safetensors") for run in ("few", "all")
        )
        assert any(not torch.equal(ours[key], theirs[key]) for key in ours)


def test_a_head_that_needs_labels_is_refused_with_few(tmp_path):
    with pytest.raises(ConfigError, match=r"module\.heads\.dkd: needs the label.*per_class=3"):
        ran(tmp_path / "run", *FEW, "head@module.heads=dkd")


def test_seeds_share_the_teacher_of_one(tmp_path):
    shared = ran(tmp_path / "a", *SMALL, *UNCHECKED, "seed=1", "teacher.seed=0")
    own = ran(tmp_path / "b", *SMALL, *UNCHECKED, "seed=0")
    assert shared["meta"]["teacher_sha256"] == own["meta"]["teacher_sha256"]
    other = ran(tmp_path / "c", *SMALL, *UNCHECKED, "seed=1")
    assert other["meta"]["teacher_sha256"] != own["meta"]["teacher_sha256"]
