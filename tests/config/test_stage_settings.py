"""The stages of a config: order, start, overrides, and one line for each way to get it wrong."""

import pytest
from omegaconf import OmegaConf

from potstill.config.stage_settings import links
from potstill.errors import ConfigError

RUN = {
    "module": {"optimizer": {"lr": 0.1, "momentum": 0.9}},
    "trainer": {"max_epochs": 3, "precision": "32-true"},
}
QUANTIZE = {"_target_": "potstill.quantization.post_training.StaticQuantization"}


def chain(**stages):
    return links(OmegaConf.create(RUN | {"stages": stages}))


def test_each_stage_starts_from_the_one_before_unless_told():
    found = chain(
        pruned={"epochs": 2},
        ptq={"epochs": 0, "quantize": QUANTIZE},
        qat={"start": "pruned"},
    )
    assert [(link.name, link.start) for link in found] == [
        ("pruned", "student"),
        ("ptq", "pruned"),
        ("qat", "pruned"),
    ]
    assert [link.settings.epochs for link in found] == [2, 0, 1]


def test_no_stages_are_no_links():
    assert links(OmegaConf.create(RUN)) == []
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
    prune = {"prune": {"_target_": "x"}, "off": None}
    first, second, third = chain(
        a={"callbacks": prune}, b={"quantize": QUANTIZE, "epochs": 0}, c={"distil": False}
    )
    assert [link.what for link in (first, second, third)] == ["prune + distil", "quantize", "train"]


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
        ("a", {"quantize": QUANTIZE, "epochs": 2}, "stages.a.quantize: is done after training"),
        ("a", 3, "stages.a=3: must be a mapping"),
    ],
)
def test_what_is_wrong_is_one_line(name, stage, message):
    with pytest.raises(ConfigError, match=message) as caught:
        chain(**{name: stage})
    assert "\n" not in str(caught.value)
