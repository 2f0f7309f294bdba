"""Whole runs in two processes: what they share, what they write, what comes out."""

import hashlib
import json
import os
import subprocess
import sys
from functools import partial

import lightning.pytorch as pl
import pytest
import torch
from hydra.core.hydra_config import HydraConfig
from omegaconf import OmegaConf, open_dict
from torch import nn

import potstill.pipeline.stages.prune_channels
import potstill.pipeline.stages.qat  # noqa: F401  (or each of the processes would import them)
from potstill.artifact.file import load_artifact
from potstill.config.instantiate import instantiate
from potstill.data.fake import Fake
from potstill.distributed import collectives, strategy
from potstill.errors import ConfigError
from potstill.heads.kd import KD
from potstill.libraries import quiet
from potstill.pipeline import run as whole
from potstill.teacher.frozen import sha256_of
from potstill.training.module import DistillationModule
from potstill.training.predict import predict
from potstill.training.trainer import make_trainer
from tests.pipeline.test_run import SMALL, UNCHECKED, composed, metrics_of
from tests.support.forked import forked
from tests.support.places import ROOT

NUM_VAL = 101  # odd: the processes' shares differ
RUN = [
    *[line for line in SMALL if "limit" not in line],
    *UNCHECKED,
    "model@module.student=cifar_resnet8",
    "model@module.teacher=cifar_resnet8",
    "data.num_classes=4",
    "data.batch_size=16",
    "data.train_size=165",
    f"data.val_size={NUM_VAL}",
    "baseline=false",
    "trainer.devices=2",
    "+stage@stages.pruned=prune",
    "+stage@stages.int8-ptq=ptq",
    "+stage@stages.int8-qat=qat",
    "stages.pruned.transforms.prune.round_to=2",
    "stages.pruned.transforms.prune.first=null",
    "stages.pruned.transforms.prune.then=null",
    "stages.pruned.epochs=1",
    "stages.int8-ptq.transforms.quantize.n_batches=1",
    "stages.int8-ptq.start=pruned",
    "stages.int8-qat.epochs=1",
    "stages.int8-qat.start=pruned",
]


def studied(folder, *overrides):
    """Run a study in two processes and return what each has at its end."""
    cfg = composed(*RUN, *overrides, f"teacher.store_dir={folder.parent / 'teachers'}")
    with open_dict(cfg):
        cfg.hydra.runtime.output_dir = str(folder)
    HydraConfig.instance().set_config(cfg)
    plain = OmegaConf.masked_copy(cfg, [key for key in cfg if key != "hydra"])
    folder.mkdir(exist_ok=True)

    def work(rank):
        found, fits = {}, []
        real = pl.Trainer.fit
        pl.Trainer.fit = lambda trainer, *a, **k: (fits.append(1), real(trainer, *a, **k))[1]

        def note(study):
            for name, fitted in study.fitted.items():
                found[name] = sha256_of(fitted.network)
            study.run.data.setup("test")
            network = study.fitted["int8-qat"].network
            found["logits"] = predict(network, study.run.data.test_dataloader(), study.run.device)[
                0
            ]

        whole.report = note
        found["accuracy"] = whole.run(plain)
        return found | {"fits": len(fits)}

    found = forked(work, folder.parent / f"{folder.name}-of")
    HydraConfig.instance().cfg = None  # or other tests would be inside a command
    return found, plain


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    folder = tmp_path_factory.mktemp("ddp") / "run"
    return folder, *studied(folder)


def test_every_process_ends_with_the_same_networks(study):
    _, (first, second), _ = study
    names = {"teacher", "student", "pruned", "int8-ptq", "int8-qat"}
    assert names <= set(first)
    for name in (*names, "accuracy", "fits"):
        assert first[name] == second[name], name
    assert torch.equal(first["logits"], second["logits"])
    assert first["fits"] == 4  # teacher, student, pruned, int8-qat


def test_the_files_hold_those_networks(study):
    folder, (first, _), _ = study
    for name in ("student", "pruned", "int8-ptq", "int8-qat"):
        network, _ = load_artifact(folder / name / f"{name}.safetensors")
        assert sha256_of(network) == first[name]
    (kept,) = (folder.parent / "teachers").glob("*/teacher.json")
    assert json.loads(kept.read_text())["sha256"] == first["teacher"]


def test_validation_counts_every_image_once(study):
    folder, (first, _), cfg = study
    data = instantiate(cfg.data)
    data.setup("fit")
    network, _ = load_artifact(folder / "student" / "student.safetensors")
    logits, targets = predict(network, data.val_dataloader(), torch.device("cpu"))
    right = int((logits.argmax(1) == targets).sum())
    assert len(targets) == NUM_VAL
    assert first["accuracy"] == pytest.approx(right / NUM_VAL, abs=1e-7)
    rows = [row for row in metrics_of(folder / "student") if row["val/accuracy"]]
    assert float(rows[-1]["val/accuracy"]) == pytest.approx(right / NUM_VAL, abs=1e-6)


def test_a_second_run_does_nothing_twice(study):
    folder, (first, _), _ = study
    again, _ = studied(folder, "resume=true")
    assert [part["fits"] for part in again] == [0, 0]
    for part in again:
        assert {key: part[key] for key in part if key not in ("fits", "logits")} == {
            key: first[key] for key in first if key not in ("fits", "logits")
        }


class Plain(nn.Module):
    """No batch-norm, whose statistics would be of half a batch."""

    def __init__(self):
        super().__init__()
        self.hidden, self.linear = nn.Linear(3 * 8 * 8, 8), nn.Linear(8, 4)

    def forward(self, image):
        return self.linear(self.hidden(image.flatten(1)).tanh())


def trained(folder, batch_size, world):
    """Train a small network in this process and return its weights and metrics."""
    small = ["trainer.accelerator=cpu", f"trainer.devices={world}", "trainer.precision=32-true"]
    cfg = composed(*small, "+trainer.enable_progress_bar=false")
    cfg.callbacks = {}
    quiet()
    trainer = make_trainer(cfg, folder, 3)
    torch.manual_seed(0)
    module = DistillationModule(
        Plain(), Plain(), {"kd": KD()}, optimizer=partial(torch.optim.SGD, lr=0.1, momentum=0.9),
        image_shape=(3, 8, 8),
    )  # fmt: skip
    sizes = {"train_size": 165, "val_size": NUM_VAL, "test_size": 4, "batch_size": batch_size}
    data = Fake(4, 8, flip=True, crop_padding=1, **sizes)
    trainer.fit(module, datamodule=data)
    # Those without a slash are of the last batch alone, for the progress bar.
    seen = {k: float(v) for k, v in trainer.callback_metrics.items() if "/" in k}
    return {"weights": dict(module.student.state_dict()), "metrics": seen}


def test_two_processes_train_as_one_with_twice_the_batch(tmp_path):
    parts = forked(lambda rank: trained(tmp_path / "two", 8, 2), tmp_path / "of")
    alone = trained(tmp_path / "one", 16, 1)
    torch.manual_seed(0)
    untrained = Plain().state_dict()
    for part in parts:
        assert {"train/loss", "train/kd", "val/loss", "val/teacher_kl"} < set(alone["metrics"])
        for name, value in alone["metrics"].items():
            assert part["metrics"][name] == pytest.approx(value, rel=1e-4, abs=1e-5), name
        assert part["metrics"]["val/accuracy"] == alone["metrics"]["val/accuracy"]
        for name, value in alone["weights"].items():
            torch.testing.assert_close(part["weights"][name], value, rtol=1e-4, atol=1e-5)
            assert (value - untrained[name]).abs().max() > 1e-2


@pytest.mark.parametrize(
    ("devices", "given", "words"),
    [
        (3, "auto", r"trainer\.devices=3.*: started as 2 process"),
        (2, "ddp_spawn", r"trainer\.strategy: only DDP in processes already started"),
        (2, "fsdp", r"trainer\.strategy: only DDP"),
    ],
)
def test_what_cannot_work_is_refused(monkeypatch, devices, given, words):
    monkeypatch.setenv("WORLD_SIZE", "2")

    class Trainer:
        num_devices, num_nodes, world_size = devices, 1, devices

    made = {"auto": strategy.DDPStrategy, "fsdp": object}
    Trainer.strategy = made.get(given, partial(strategy.DDPStrategy, start_method="spawn"))()
    with pytest.raises(ConfigError, match=words):
        strategy.join(Trainer())
    assert collectives.world() == 1


def test_the_strategy_is_open_to_the_config(monkeypatch):
    cfg = composed("process_timeout=30")
    assert strategy.strategy(cfg) == {}
    monkeypatch.setenv("WORLD_SIZE", "2")
    made = strategy.strategy(cfg)["strategy"]
    assert made._timeout.total_seconds() == 30
    assert made._ddp_kwargs == {"find_unused_parameters": False}
    assert strategy.strategy(composed("+trainer.strategy=ddp")) == {}


@pytest.mark.parametrize(
    ("weight", "rests"),
    [
        ("0.5", False),
        ("0", True),
        ("{_target_: potstill.heads.common.schedules.Halve, start: 4}", True),
    ],
)
def test_a_head_may_sit_out_an_epoch(monkeypatch, weight, rests):
    monkeypatch.setenv("WORLD_SIZE", "2")
    cfg = composed("alpha=null", f"module.heads.kd.weight={weight}")
    assert strategy.strategy(cfg)["strategy"]._ddp_kwargs == {"find_unused_parameters": rests}


def test_the_command_line_starts_them(tmp_path):
    """Once for real: one line of output each, one report, a log for each process."""
    root = ROOT
    small = [
        *SMALL,
        *UNCHECKED,
        "model@module.student=tiny_cnn",
        "model@module.teacher=cifar_resnet8",
    ]
    small += ["data.test_size=33", "data.num_classes=3", "export=[torch_export]"]  # odd: no half
    line = [sys.executable, str(root / "train.py"), *small, "trainer.devices=2", "baseline=false"]
    environment = {k: v for k, v in os.environ.items() if k not in ("RANK", "WORLD_SIZE")}
    done = subprocess.run(
        [*line, f"teacher.store_dir={tmp_path / 'teachers'}", f"hydra.run.dir={tmp_path / 'run'}"],
        cwd=tmp_path,
        env=environment | {"OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("report  ") == 1
    assert done.stderr == ""
    found = json.loads((tmp_path / "run" / "report.json").read_text())
    assert len(found["examples"]) > 1  # networks that have learned nothing disagree
    (exported,) = json.loads((tmp_path / "run/export/exports.json").read_text())["files"]
    assert exported["accuracy"] == pytest.approx(found["rows"][-1]["accuracy"])
    assert {path.name for path in (tmp_path / "run").glob("*.log")} == {"train.log", "train-1.log"}
    assert (tmp_path / "run" / ".hydra" / "config.yaml").is_file()
    assert hashlib.sha256((tmp_path / "run" / "student" / "student.safetensors").read_bytes())
