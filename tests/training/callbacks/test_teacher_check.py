"""A teacher that is not what its record says is found before the first step."""

import csv
import logging

import lightning.pytorch as pl
import pytest
import torch
from torch import nn

from potstill.errors import DataError
from potstill.heads.kd import KD
from potstill.tasks.classification import Classification
from potstill.teacher.frozen import sha256_of
from potstill.training.callbacks.teacher_check import TeacherCheck
from potstill.training.module import DistillationModule

CLASSES, IMAGES, RIGHT = 5, 40, 36  # the oracle below is right on 90 %


class Oracle(nn.Module):
    """Reads the label, or what it is made to believe is the label, off the first pixel."""

    def __init__(self, order=range(CLASSES)):
        super().__init__()
        self.centres = nn.Parameter(torch.tensor(list(order), dtype=torch.float32))
        self.conv = nn.Conv2d(3, 2, 1)

    def forward(self, image):
        return -10 * (image[:, 0, 0, 0, None] - self.centres).square()


class Data(pl.LightningDataModule):
    """Images that show their label, but for four of forty that show the next one."""

    def setup(self, stage):
        self.target = torch.arange(IMAGES) % CLASSES
        self.image = torch.zeros(IMAGES, 3, 16, 16)
        wrong = torch.arange(IMAGES) >= RIGHT
        self.image[:, 0, 0, 0] = ((self.target + wrong) % CLASSES).float()

    def batches(self):
        split = torch.utils.data.TensorDataset(self.image, self.target)
        return torch.utils.data.DataLoader(split, batch_size=16)

    train_dataloader = val_dataloader = batches


@pytest.fixture
def fit(tiny, trainer):
    def run(teacher, check, **settings):
        heads = None if teacher is None else {"kd": KD()}
        module = DistillationModule(tiny(4), teacher, heads, image_shape=(3, 16, 16))
        built = trainer(**({"callbacks": [check]} | settings))
        built.fit(module, datamodule=Data())
        return module, built

    return run


class Stop(Exception):
    pass


class NoStep(pl.Callback):
    def on_train_batch_start(self, *_):
        raise Stop


def test_a_good_teacher_passes_and_is_recorded(fit, caplog, tmp_path):
    logger = pl.loggers.CSVLogger(tmp_path)
    teacher, check = Oracle(), TeacherCheck(accuracy=0.9)
    with caplog.at_level(logging.INFO, "potstill"):
        _, trainer = fit(teacher, check, logger=logger)
    assert check.sha256 == sha256_of(teacher)
    assert f"{check.sha256[:12]}: 90.00 % on validation" in caplog.text
    with (tmp_path / "lightning_logs" / "version_0" / "metrics.csv").open() as file:
        first = next(csv.DictReader(file))
    assert float(first["teacher/val_accuracy"]) == pytest.approx(0.9)
    assert first["step"] == "0"
    assert trainer.global_step == 3


@pytest.mark.parametrize(("recorded", "passes"), [(0.925, True), (0.935, False), (0.5, True)])
def test_tolerance_is_three_points(fit, recorded, passes):
    check = TeacherCheck(accuracy=recorded)
    if passes:
        fit(Oracle(), check)
    else:
        with pytest.raises(DataError, match=r"module\.teacher: 90\.00 % on .*recorded 93\.50 %"):
            fit(Oracle(), check)


def test_permuted_classes_stop_before_the_first_step(tiny, trainer):
    """90 % becomes 10 %: only the four odd images show what it takes for their class."""
    teacher = Oracle([1, 2, 3, 4, 0])
    for check, recorded in [(TeacherCheck(0.9), "recorded 90.00 %"), (TeacherCheck(), "guessing")]:
        module = DistillationModule(tiny(4), teacher, {"kd": KD()}, image_shape=(3, 16, 16))
        with pytest.raises(DataError, match=rf"10\.00 % on validation, {recorded}.*classes' order"):
            trainer(callbacks=[check, NoStep()]).fit(module, datamodule=Data())


def test_a_trial_of_one_batch_is_let_pass(fit):
    _, trainer = fit(Oracle([1, 2, 3, 4, 0]), TeacherCheck(), fast_dev_run=True)
    assert trainer.global_step == 1


def test_guessing_is_chance_and_three_sigma():
    """Of 40 images in 5 classes: 0.2 + 3 * sqrt(0.2 * 0.8 / 40) = 0.3897."""
    check, task = TeacherCheck(), Classification()
    untrained = task.untrained_score(torch.zeros(40, 5), torch.zeros(40))
    assert untrained == pytest.approx(0.3897, abs=5e-5)
    check._judge(task, 0.39, untrained)
    with pytest.raises(DataError, match=r"38\.90 % on validation, guessing 38\.97 %"):
        check._judge(task, 0.389, untrained)


def test_a_teacher_changed_by_training_is_an_error(fit):
    class Spoil(pl.Callback):
        def on_train_batch_end(self, trainer, module, *_):
            module.teacher.network.conv.bias.data += 1

    teacher, check = Oracle(), TeacherCheck()
    with pytest.raises(RuntimeError, match="changed during training"):
        fit(teacher, check, callbacks=[check, Spoil()])


def test_modes_are_kept_and_training_alone_is_not_checked(fit):
    check = TeacherCheck(accuracy=1.0)
    module, trainer = fit(None, check)
    assert trainer.global_step == 3
    assert check.sha256 is None
    assert module.student.training
