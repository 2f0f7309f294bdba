"""Precision, memory layout, compiling and a quicker teacher: where the settings take effect."""

import json
import shutil
from pathlib import Path

import lightning.pytorch as pl
import pytest
import torch
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf
from rich.console import Console
from torch import nn

from potstill.config.instantiate import instantiate
from potstill.errors import ConfigError
from potstill.pipeline import fit
from potstill.pipeline.context import begin
from potstill.pipeline.experiment import Experiment
from potstill.pipeline.rehearsal import rehearse
from potstill.teacher.frozen import sha256_of
from potstill.training import precision
from potstill.training.module import DistillationModule
from potstill.training.precision import half_of, settle_precision, use_channels_last
from tests.support.places import CONF

CPU = torch.device("cpu")
SMALL = (
    *("data=fake", "data.image_size=16", "data.batch_size=8", "data.val_size=16"),
    *("data.train_size=48", "data.test_size=8", "data.noise=10", "data.num_classes=5"),
    *("model@module.student=tiny_cnn", "model@module.teacher=tiny_cnn"),
    *("trainer.max_epochs=1", "trainer.accelerator=cpu", "+trainer.enable_progress_bar=false"),
    *("callbacks.progress=null", "callbacks.teacher_check=null", "module.optimizer.lr=0.05"),
)


def composed(*overrides):
    with initialize_config_dir(str(CONF), version_base="1.3"):
        return compose("train", [*SMALL, *overrides])


class Watch(pl.Callback):
    """Notes each step's loss, and what the student's first layer looks like and gives."""

    def __init__(self):
        self.losses, self.dtypes, self.layouts, self.module = [], set(), set(), None

    def on_train_start(self, trainer, pl_module):
        self.module = pl_module
        for conv in (m for m in pl_module.student.modules() if isinstance(m, nn.Conv2d)):
            conv.register_forward_hook(lambda _, args, output: self.dtypes.add(output.dtype))
            self.layouts.add(conv.weight.is_contiguous())

    def on_train_batch_end(self, trainer, pl_module, outputs, *_):
        self.losses.append(outputs["loss"].item())


@pytest.fixture
def study(tmp_path, monkeypatch):
    """Make a study, its teacher met; `train` trains a student and says what was seen."""

    def build(*overrides, name="run"):
        cfg = composed(*overrides, f"teacher.store_dir={tmp_path / 'teachers'}")
        made = Experiment(begin(cfg, tmp_path / name, Console(quiet=True)))
        made.seed()
        return made

    return build


def trained(study, monkeypatch, teaches=True):
    teacher = instantiate(study.run.cfg.module.teacher) if teaches else None
    if teacher is not None:
        study.meet(teacher)
    watch, make_trainer = Watch(), fit.make_trainer

    def with_watch(*given):
        trainer = make_trainer(*given)
        trainer.callbacks.insert(0, watch)
        return trainer

    with monkeypatch.context() as patched:
        patched.setattr(fit, "make_trainer", with_watch)
        study.train("student", teacher)
    return watch, study.fitted["student"].network, teacher


def test_layout_changes_no_result_and_ends_with_training(study, monkeypatch):
    plain, one, _ = trained(study("channels_last=false", name="plain"), monkeypatch)
    laid, other, _ = trained(study("channels_last=auto"), monkeypatch)
    assert (plain.layouts, laid.layouts) == ({True}, {False})
    image = torch.randn(8, 3, 16, 16)
    torch.testing.assert_close(one.eval()(image), other.eval()(image), rtol=1e-5, atol=1e-5)
    assert all(p.is_contiguous() for p in other.parameters())


def test_auto_computes_in_half_precision_where_there_are_units_for_it(study, monkeypatch):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"amx_tile": True})
    half, _, _ = trained(study("compile=false", name="half"), monkeypatch)
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"amx_tile": False})
    full, _, _ = trained(study(name="full"), monkeypatch)
    assert (half.dtypes, full.dtypes) == ({torch.bfloat16}, {torch.float32})
    assert half.losses != full.losses
    assert half.losses == pytest.approx(full.losses, rel=0.02)


def test_stored_half_precision_is_what_the_teacher_gives_again(study, monkeypatch):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"amx_tile": True})
    wide = ("teacher.rounding=0.5", "compile=false")
    online = trained(study(*wide, "teacher.store=off", name="online"), monkeypatch)[0]
    first = trained(study(*wide, name="first"), monkeypatch)[0]
    again = study(*wide, "teacher.store=read", name="again")
    replayed = trained(again, monkeypatch)[0]  # checks rows of the store before it trains
    assert again.cached.forwards == 0
    assert again.folded.arithmetic.endswith("bfloat16")
    assert first.losses == replayed.losses
    assert replayed.losses == pytest.approx(online.losses, rel=1e-3)


@pytest.mark.skipif(not any(map(shutil.which, ("g++", "clang++"))), reason="no C++ compiler")
def test_a_compiled_step_trains_alike(batches, loader, trainer, monkeypatch):
    monkeypatch.setattr(torch._inductor.config, "compile_threads", 1)
    losses = []
    for compiled in (False, True):
        torch.manual_seed(0)
        student = nn.Sequential(nn.Flatten(), nn.Linear(768, 8), nn.Tanh(), nn.Linear(8, 5))
        module = DistillationModule(student, image_shape=(3, 16, 16), compiled=compiled)
        watch = Watch()
        trainer(max_epochs=2, callbacks=[watch]).fit(module, loader(batches))
        losses.append(watch.losses)
    assert module._student_extractor.call is not module.student
    assert losses[1] == pytest.approx(losses[0], rel=1e-4)
    assert losses[1][-1] < losses[1][0]


def test_a_compiled_student_is_saved_as_any_other(study, monkeypatch, tmp_path):
    used, compiled = [], torch.compile

    def without_a_compiler(*args, **settings):
        used.append(args)
        return compiled(*args, **settings, backend="eager")

    monkeypatch.setattr(torch, "compile", without_a_compiler)
    monkeypatch.setattr(precision, "has_compiler", lambda device: True)
    eager, _, _ = trained(study("compile=auto", name="eager"), monkeypatch)
    assert not used
    fast, network, _ = trained(study("compile=true"), monkeypatch)
    assert len(used) == 1
    assert fast.losses == pytest.approx(eager.losses, rel=1e-4)
    saved = sorted((tmp_path / "run" / "student" / "checkpoints").glob("*.ckpt"))[-1]
    state = torch.load(saved, weights_only=True)
    assert not [key for key in state["state_dict"] if "_orig_mod" in key]
    assert state["identity"]["compile"] is True
    assert not [key for key in network.state_dict() if "_orig_mod" in key]


def test_the_teacher_runs_in_a_folded_form_that_the_store_names(study, monkeypatch, tmp_path):
    teacher_calls = []
    one = study()
    teacher = instantiate(one.run.cfg.module.teacher)
    one.meet(teacher)
    before, image = sha256_of(teacher), torch.randn(8, 3, 16, 16)
    module = one.module(instantiate(one.run.cfg.module.student), teacher)
    module.prepare()
    teacher.register_forward_hook(lambda *_: teacher_calls.append(1))
    folded = (
        module._forward_teacher(image, None)
        if module.cached is None
        else module._teacher_extractor(image)
    )
    assert not teacher_calls
    torch.testing.assert_close(folded.logits, teacher.eval()(image), rtol=1e-4, atol=1e-5)
    assert sha256_of(teacher) == before
    (manifest,) = (tmp_path / "teachers").glob("*/manifest.json")
    found = json.loads(manifest.read_text())
    assert found["arithmetic"] == one.folded.arithmetic
    assert found["arithmetic"].startswith("float32, batch-norm folded")
    assert found["difference"] == one.folded.difference < 1e-5


@pytest.mark.parametrize(
    "overrides",
    [
        ["teacher.rounding=0"],
        ["head@module.heads=[kd,fitnet]"],
        ["+callbacks.moves={_target_: potstill.training.callbacks.ema_teacher.EMATeacher}"],
    ],
)
def test_where_the_teacher_itself_runs(study, overrides):
    one = study(*overrides)
    one.meet(instantiate(one.run.cfg.module.teacher))
    assert one.folded is None


def test_a_moving_teacher_runs_itself(study):
    one = study()
    teacher = instantiate(one.run.cfg.module.teacher)
    one.meet(teacher)
    module = one.module(instantiate(one.run.cfg.module.student), teacher)
    module.teacher_moves = module.channels_last = True
    module.prepare()
    assert (module.folded, module.cached) == (None, None)
    assert module._teacher_extractor.network is teacher


def test_other_arithmetic_is_another_run(study, monkeypatch):
    trained(study("callbacks.checkpoint.every_n_steps=2"), monkeypatch)
    weights = Path(study("name=x").run.folder / "student" / "student.safetensors")
    weights.unlink()
    for change, found in (
        ("channels_last=false", "channels_last: True -> False"),
        ("trainer.precision=bf16-mixed", "trainer.precision: 32-true -> bf16-mixed"),
        ("teacher.rounding=0", "teacher_arithmetic: float32, batch-norm folded"),
    ):
        with pytest.raises(ConfigError, match=found):
            trained(
                study("callbacks.checkpoint.every_n_steps=2", "resume=true", change), monkeypatch
            )


def test_what_cannot_take_effect_is_refused_before_training(study):
    with pytest.raises(ConfigError, match="compile=true: heads read"):
        rehearse(study("compile=true", "head@module.heads=[kd,fitnet]"))


def test_precision_is_settled_for_the_run_and_its_stages(monkeypatch):
    cfg = OmegaConf.create(
        {
            "trainer": {"precision": "auto", "max_epochs": 2},
            "stages": {
                "a": {"trainer": {"precision": "auto"}},
                "b": {"trainer": {"precision": "64-true"}},
                "c": {"trainer": None},
                "d": None,
            },
        }
    )
    monkeypatch.setattr(precision, "has_matrix_units", lambda device: True)
    settled = settle_precision(cfg, CPU)
    assert settled.trainer == {"precision": "bf16-mixed", "max_epochs": 2}
    assert settled.stages.a.trainer.precision == "bf16-mixed"
    assert settled.stages.b.trainer.precision == "64-true"
    assert cfg.trainer.precision == "auto"


@pytest.mark.parametrize(
    ("given", "units", "expected"),
    [
        ("bf16-mixed", True, torch.bfloat16),
        ("bf16-mixed", False, None),  # float32 is the quicker one
        ("16-mixed", True, torch.float16),
        ("32-true", True, None),
    ],
)
def test_half_precision_of_a_network_that_only_answers(monkeypatch, given, units, expected):
    monkeypatch.setattr(precision, "has_matrix_units", lambda device: units)
    assert half_of(given, CPU) is expected


def test_layout_is_refused_where_nothing_has_channels():
    with pytest.raises(ConfigError, match=r"channels_last=true: .*Fix"):
        use_channels_last(True, CPU, "32-true", nn.Linear(2, 2))
    assert use_channels_last("auto", CPU, "32-true", nn.Linear(2, 2))
