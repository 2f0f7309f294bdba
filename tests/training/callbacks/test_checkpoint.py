"""When a run is saved, what counts as best, and with which settings it may go on."""

import math
from functools import partial

import lightning.pytorch as pl
import pytest
import torch

from potstill.data.fake import Fake
from potstill.errors import ConfigError, NonFiniteError
from potstill.heads.kd import KD
from potstill.training.callbacks.checkpoint import Checkpoint
from potstill.training.checkpoints import files
from potstill.training.loggers.csv import MetricsFile
from potstill.training.module import DistillationModule
from potstill.training.schedules import cosine

STEPS = 4


def module(tiny, lr=0.1, teacher=1, scheduler=cosine):
    return DistillationModule(
        tiny(seed=0, dropout=0.5),
        tiny(seed=teacher),
        {"kd": KD()},
        alpha=0.5,
        optimizer=partial(torch.optim.SGD, lr=lr, momentum=0.9),
        scheduler=scheduler,
        image_shape=(3, 16, 16),
    )


def data():
    return Fake(num_classes=5, image_size=16, train_size=50, val_size=18, batch_size=8)


class StepMetrics(pl.Callback):
    """Which steps were saved, and the learning rate of each step."""

    def __init__(self):
        self.saved, self.rates = [], []

    def on_save_checkpoint(self, trainer, *_):
        self.saved.append(trainer.global_step)

    def on_before_optimizer_step(self, trainer, pl_module, optimizer):
        self.rates.append(optimizer.param_groups[0]["lr"])


class Scripted(pl.Callback):
    """Validation finds these accuracies."""

    def __init__(self, values):
        self.values = values

    def on_validation_epoch_end(self, trainer, pl_module):
        pl_module.log("score", self.values[trainer.current_epoch])


def fit(build, trained, callbacks, ckpt_path=None, **settings):
    trainer = build(callbacks=callbacks, enable_checkpointing=True, **settings)
    trainer.fit(trained, datamodule=data(), ckpt_path=ckpt_path, weights_only=True)
    return trainer


def kept(folder):
    return sorted(p.name for p in (folder / "checkpoints").glob("step-*.ckpt"))


@pytest.mark.parametrize(("mode", "epoch"), [("max", 2), ("min", 4)])
@pytest.mark.parametrize("every", [1, 3])
def test_the_best_is_the_first_with_the_best_value(tiny, trainer, tmp_path, mode, epoch, every):
    saving = Checkpoint(every_n_epochs=every, monitor="score", mode=mode)
    fit(trainer, module(tiny), [Scripted([0.2, 0.5, 0.5, 0.1]), saving], max_epochs=4)
    assert saving.best_model_path == str(tmp_path / "checkpoints" / "best.ckpt")
    found = files.read(tmp_path / "checkpoints" / "best.ckpt")
    assert found["global_step"] == epoch * STEPS
    assert saving.best == pytest.approx({"max": 0.5, "min": 0.1}[mode])


def test_nan_is_never_the_best(tiny, trainer):
    saving = Checkpoint(monitor="score", mode="max")
    fit(trainer, module(tiny), [Scripted([math.nan]), saving])
    assert saving.best_model_path == ""


def test_a_metric_that_is_not_logged_is_named_with_those_that_are(tiny, trainer):
    with pytest.raises(ConfigError, match=r"monitor=val/acc: not logged\. Fix: one of .*val/accur"):
        fit(trainer, module(tiny), [Checkpoint(monitor="val/acc", mode="max")])


def test_the_task_says_what_is_monitored_and_which_way(tiny, trainer):
    given = [
        Checkpoint(),
        Checkpoint(monitor="val/loss"),
        Checkpoint(monitor="val/loss", mode="max"),
    ]
    for saving in given:
        fit(trainer, module(tiny), [saving])
    found = [(saving.monitor, saving.mode) for saving in given]
    assert found == [("val/accuracy", "max"), ("val/loss", "min"), ("val/loss", "max")]
    with pytest.raises(ConfigError, match=r"monitor=val/lr: no score of the task.*mode=max or min"):
        fit(trainer, module(tiny), [Checkpoint(monitor="val/lr")])


@pytest.mark.parametrize(
    ("settings", "trainer_settings", "expected"),
    [
        ({"every_n_epochs": 1}, {}, [4, 8]),
        ({"every_n_epochs": 2}, {}, [8]),
        ({"every_n_epochs": None, "every_n_steps": 3}, {}, [3, 6]),
        ({"every_n_steps": 3}, {}, [3, 4, 6, 8]),
        # Some batches a step: nothing is saved between them.
        ({"every_n_steps": 1}, {"accumulate_grad_batches": 2}, [1, 2, 3, 4]),
        ({"every_n_steps": 1}, {"accumulate_grad_batches": 3}, [1, 2, 3, 4]),
        # Without validation the epoch's last step waits for the next one.
        ({"every_n_epochs": 1}, {"limit_val_batches": 0}, [5]),
        ({"every_n_steps": 1}, {"limit_val_batches": 0}, [1, 2, 3, 5, 6, 7]),
        ({"every_n_steps": 2}, {"max_steps": 6, "max_epochs": -1}, [2, 4]),
    ],
)
def test_saves_come_after_whole_steps(tiny, trainer, settings, trainer_settings, expected):
    record, saving = StepMetrics(), Checkpoint(**settings, monitor=None, keep=1)
    trainer_settings = {"max_epochs": 2} | trainer_settings
    fit(trainer, module(tiny), [record, saving], **trainer_settings)
    assert record.saved == expected


def test_so_many_are_kept(tiny, trainer, tmp_path):
    fit(trainer, module(tiny), [Checkpoint(every_n_steps=1, keep=3)])
    assert kept(tmp_path) == [files.name_of(step) for step in (2, 3, 4)]


def test_a_checkpoint_holds_the_student_by_name_and_no_teacher(tiny, trainer, tmp_path):
    trained = module(tiny)
    fit(trainer, trained, [Checkpoint()])
    found = files.read(tmp_path / "checkpoints" / files.name_of(STEPS))
    assert not [name for name in found["state_dict"] if "teacher" in name]
    names = [name for name, _ in trained.named_parameters()]
    [state] = found["optimizer_states"]
    assert state["param_groups"][0]["params"] == names
    assert list(state["state"]) == names
    assert found["identity"]["teacher_sha256"] == trained.teacher.sha256
    assert found["identity"]["world_size"] == 1


class Direct(pl.Callback):
    """Give the logger a row that Lightning does not know of."""

    def on_train_batch_start(self, trainer, pl_module, batch, index):
        trainer.logger.log_metrics({"direct": 1.5}, step=trainer.global_step)


def test_what_was_logged_before_a_checkpoint_is_in_the_file_by_then(tiny, trainer, tmp_path):
    seen, file = [], tmp_path / "run" / "metrics.csv"

    class Look(pl.Callback):
        def on_save_checkpoint(self, *_):
            seen.append(file.read_text())

    logger = MetricsFile(tmp_path, name="", version="run")
    callbacks = [Direct(), Look(), Checkpoint(every_n_steps=2, every_n_epochs=None, monitor=None)]
    fit(trainer, module(tiny), callbacks, logger=logger)
    assert seen == ["direct,step\n1.5,0\n1.5,1\n", "direct,step\n1.5,0\n1.5,1\n1.5,2\n1.5,3\n"]


class Spoil(pl.Callback):
    """Put a value into a tensor after the second step."""

    def __init__(self, name, value):
        self.name, self.value = name, value

    def on_train_batch_end(self, trainer, pl_module, *_):
        if trainer.global_step == 2:
            tensors = dict(pl_module.named_parameters()) | dict(pl_module.named_buffers())
            tensors[self.name].data.flatten()[0] = self.value


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("student.fc.weight", math.nan),
        ("student.fc.bias", math.inf),
        ("student.bn.running_mean", math.nan),
    ],
)
def test_what_is_not_finite_is_not_saved(tiny, trainer, tmp_path, name, value):
    with pytest.raises(NonFiniteError, match="step=2: a weight is not finite"):
        fit(trainer, module(tiny), [Spoil(name, value), Checkpoint(every_n_steps=1)])
    assert kept(tmp_path) == [files.name_of(1)]


def test_a_range_that_has_seen_nothing_may_be_infinite(tiny, trainer, tmp_path):
    trained = module(tiny)
    trained.student.register_buffer("smallest", torch.tensor(math.inf))
    fit(trainer, trained, [Checkpoint()])
    assert kept(tmp_path) == [files.name_of(STEPS)]


def test_other_settings_or_another_teacher_are_refused(tiny, trainer, tmp_path):
    first = Checkpoint()
    first.identity = {"lr": 0.1}
    fit(trainer, module(tiny), [first])
    path = tmp_path / "checkpoints" / files.name_of(STEPS)
    other = Checkpoint()
    other.identity = {"lr": 0.2}
    with pytest.raises(ConfigError, match=r"^resume=true: lr: 0\.1 -> 0\.2\. Fix"):
        fit(trainer, module(tiny), [other], path, max_epochs=2)
    same = Checkpoint()
    same.identity = {"lr": 0.1}
    with pytest.raises(ConfigError, match=r"^resume=true: teacher_sha256: \w+ -> \w+\. Fix"):
        fit(trainer, module(tiny, teacher=2), [same], path, max_epochs=2)


@pytest.mark.parametrize("lr", [0.1, 0.01])
def test_an_allowed_new_rate_counts_from_the_first_step(tiny, trainer, tmp_path, lr):
    first = Checkpoint(every_n_steps=3)
    first.identity = {"lr": 0.1, "epochs": 2}
    fit(trainer, module(tiny), [first], max_epochs=2)
    path = tmp_path / "checkpoints" / files.name_of(6)
    other, record = Checkpoint(), StepMetrics()
    other.identity, other.allow = {"lr": lr, "epochs": 3}, ("lr", "epochs")
    fit(trainer, module(tiny, lr), [other, record], path, max_epochs=3)
    total = 3 * STEPS
    expected = [lr * (1 + math.cos(math.pi * step / total)) / 2 for step in range(6, total)]
    assert record.rates == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize(
    "settings", [{"every_n_steps": 0}, {"every_n_epochs": 0}, {"mode": "best"}, {"keep": 0}]
)
def test_impossible_settings_are_refused(settings):
    [name] = settings
    with pytest.raises(ConfigError, match=rf"callbacks\.checkpoint\.{name}="):
        Checkpoint(**settings)
