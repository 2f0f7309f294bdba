"""The stages of a config: order, start, overrides, and one line for each way to get it wrong."""

import pytest
from omegaconf import OmegaConf

from potstill.config.stage_settings import parse_stages, respelled
from potstill.errors import ConfigError

RUN = {
    "module": {"optimizer": {"lr": 0.1, "momentum": 0.9}},
    "trainer": {"max_epochs": 3, "precision": "32-true"},
}
QUANTIZE = {"_target_": "potstill.pipeline.stages.ptq.StaticQuantization"}
QAT = {"_target_": "potstill.pipeline.stages.qat.QuantizationAwareTraining"}
PTQ = {"epochs": 0, "transforms": {"quantize": QUANTIZE}}


def chain(**stages):
    return parse_stages(OmegaConf.create(RUN | {"stages": stages}))


def test_each_stage_starts_from_the_one_before_unless_told():
    found = chain(
        pruned={"epochs": 2},
        ptq=PTQ,
        qat={"start": "pruned"},
    )
    assert [(stage.name, stage.start) for stage in found] == [
        ("pruned", "student"),
        ("ptq", "pruned"),
        ("qat", "pruned"),
    ]
    assert [stage.settings.epochs for stage in found] == [2, 0, 1]


def test_no_stages_are_none():
    assert parse_stages(OmegaConf.create(RUN)) == []
    assert chain(pruned=None) == []


def test_overrides_reach_only_their_stage():
    first, second = chain(
        a={"module": {"optimizer": {"lr": 0.01}}, "trainer": {"precision": "bf16-mixed"}}, b={}
    )
    assert first.cfg.module.optimizer == {"lr": 0.01, "momentum": 0.9}
    assert first.cfg.trainer == {"max_epochs": 3, "precision": "bf16-mixed"}
    assert second.cfg.module == RUN["module"]
    assert second.cfg.trainer == RUN["trainer"]


def test_the_table_says_what_was_done():
    transforms = {"qat": QAT, "off": None}
    found = chain(
        a={"transforms": transforms, "callbacks": {"note": {"_target_": "x"}}},
        b=PTQ,
        c={"distil": False},
        d={},
    )
    assert [stage.what for stage in found] == ["qat + distil", "quantize", "train", "distil"]
    assert [stage.distils for stage in found] == [True, False, False, True]
    assert [list(stage.transforms) for stage in found] == [["qat"], ["quantize"], [], []]


@pytest.mark.parametrize(
    ("name", "stage", "message"),
    [
        ("student", {}, "stages.student: not a name for a stage"),
        ("a/b", {}, "stages.a/b: not a name for a stage"),
        ("a", {"epoch": 3}, "stages.a.epoch: unknown key. Fix: epochs"),
        ("a", {"start": "prund"}, "stages.a.start=prund: no such row before it. Fix: student"),
        ("a", {"epochs": 0}, "stages.a.epochs=0: too few"),
        ("a", {"epochs": "three"}, "stages.a.epochs: Value 'three'"),
        ("a", {"epochs_between": 0}, "stages.a.epochs_between=0: too few"),
        ("a", PTQ | {"epochs": 2}, "stages.a.transforms.quantize: is done after training"),
        ("a", PTQ | {"callbacks": {"b": {"_target_": "x"}}}, "quantize: is done after training"),
        (
            "a",
            {"epochs": 0, "transforms": {"quantize": QUANTIZE, "qat": QAT}},
            "stages.a.transforms.quantize: is done after training",
        ),
        ("a", {"epochs": 0, "transforms": {"qat": QAT}}, "stages.a.epochs=0: too few"),
        ("a", {"quantize": QUANTIZE}, "stages.a.quantize: .*Fix: stages.a.transforms.quantize"),
        ("a", {"callbacks": {"prune": {"macs": 0.5}}}, "Fix: stages.a.transforms.prune"),
        ("a", {"callbacks": {"q": QAT}}, "stages.a.callbacks.q: .*Fix: stages.a.transforms.q"),
        ("a", 3, "stages.a=3: must be a mapping"),
    ],
)
def test_what_is_wrong_is_one_line(name, stage, message):
    with pytest.raises(ConfigError, match=message) as caught:
        chain(**{name: stage})
    assert "\n" not in str(caught.value)


def test_a_transform_is_no_callback_of_the_run():
    with pytest.raises(ConfigError, match=r"^callbacks\.q: .*Fix: stages\.NAME\.transforms\.q$"):
        parse_stages(OmegaConf.create(RUN | {"callbacks": {"q": QAT, "off": None}}))


@pytest.mark.parametrize(
    ("was", "now"),
    [
        ("stages.a.callbacks.prune.macs=0.3", "stages.a.transforms.prune.macs=0.3"),
        ("+stages.a-b.callbacks.keep_zeros", "+stages.a-b.transforms.keep_zeros"),
        (
            "criterion@stages.a.callbacks.prune.criterion=taylor",
            "criterion@stages.a.transforms.prune.criterion=taylor",
        ),
        ("stages.a.quantize.n_batches=1", "stages.a.transforms.quantize.n_batches=1"),
        ("stages.a.callbacks.ema.decay=0.9", None),
        ("stages.quantize.epochs=2", None),
        ("callbacks.prune=null", None),
    ],
)
def test_the_former_places_of_transforms_are_known(was, now):
    assert respelled(was) == now
