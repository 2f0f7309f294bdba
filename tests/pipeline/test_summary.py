"""What a person reads before a run starts must be what will run."""

from pathlib import Path

import pytest
from omegaconf import OmegaConf
from rich.console import Console

from potstill.config.compose import Command, configs
from potstill.pipeline.context import begin
from potstill.pipeline.summary import called, describe, loss
from tests.support.places import CONF

HALVE = "{_target_: potstill.heads.common.schedules.Halve, start: 20, every: 5}"


def without_hydra(cfg):
    return OmegaConf.masked_copy(cfg, [key for key in cfg if key != "hydra"])


def composed(*overrides):
    (cfg,) = configs(Command(CONF, overrides=overrides))
    return cfg


@pytest.mark.parametrize(
    ("overrides", "text"),
    [
        ((), "0.5 task + 0.5 kd (T=4)"),
        (("alpha=0.9", "temperature=2.5"), "0.1 task + 0.9 kd (T=2.5)"),
        (("module.heads=null",), "cross entropy"),
        (("head@module.heads=[kd,fitnet]",), "0.5 task + 0.5 kd (T=4) + 100 fitnet"),
        (("head@module.heads=[kd,mse]",), "0.5 task + 0.5 kd (T=4) + 0.5 mse"),
        (("alpha=null", "module.heads.kd.weight=0.9"), "1 task + 0.9 kd (T=4)"),
        (("alpha=null", "module.task_weight=0.1"), "0.1 task + 1 kd (T=4)"),
        ((f"temperature={HALVE}",), "0.5 task + 0.5 kd (T=Halve)"),
        (("alpha=null", f"module.heads.kd.weight={HALVE}"), "1 task + Halve kd (T=4)"),
    ],
)
def test_loss_is_a_sum_of_weighted_terms(overrides, text):
    assert loss(composed(*overrides)) == text


@pytest.mark.parametrize(
    ("option", "text"),
    [
        ("small_student", "small_cnn, channels 16x32, hidden 256"),
        ("resnet18", "resnet18"),
        ("cifar_resnet20", "cifar_resnet, depth 20"),
        ("timm", "resnet10t"),
    ],
)
def test_a_network_is_told_from_others_of_its_builder(option, text):
    assert called(composed(f"model@module.student={option}").module.student) == text


def test_every_line_fits_in_80_columns(capsys):
    few = ("data=fake", "data.train_size=64", "data.val_size=32", "data.test_size=32")
    run = begin(without_hydra(composed(*few)), Path("outputs/runs/digits/now"))
    Console(width=80).print(describe(run))
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == [
        *("potstill", "teacher", "student", "data", "loss", "train", "output")
    ]
    assert "Fake, 32 training images, 10 classes, 32x32" in lines[3]
