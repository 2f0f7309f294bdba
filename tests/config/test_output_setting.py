"""`output` of a network in a config: the place of its logits, at every depth and in its file."""

import pytest
import torch
from omegaconf import OmegaConf

from potstill.artifact.file import build
from potstill.artifact.spec import ModelSpec
from potstill.config import plugins
from potstill.config.calls import check_calls
from potstill.config.compose import Command, configs
from potstill.config.instantiate import instantiate
from potstill.errors import ConfigError
from tests.support.places import ROOT

NODE = {"_target_": "oddlab.nets.InDict", "num_classes": 4, "output": "logits"}
IMAGES = torch.ones(2, 3, 16, 16)


@pytest.fixture(autouse=True)
def lab(monkeypatch):
    monkeypatch.setenv(plugins.VARIABLE, "")
    plugins.use([str(ROOT / "tests" / "oddlab")])


def test_a_network_returns_what_is_named():
    network = instantiate(NODE, "module.student").eval()
    assert network(IMAGES).shape == (2, 4)
    assert instantiate(NODE | {"output": "features"}, "module.student")(IMAGES).shape == (2, 16)


def test_members_of_an_ensemble_have_places_of_their_own():
    target = "potstill.teacher.ensemble.TeacherEnsemble"
    members = [NODE, NODE | {"_target_": "oddlab.nets.Tied"}]
    del members[1]["output"]
    ensemble = instantiate({"_target_": target, "members": members}, "module.teacher").eval()
    assert ensemble(IMAGES).shape == (2, 4)


def test_it_travels_with_the_specification():
    spec = ModelSpec.of(NODE)
    again = ModelSpec.from_json(spec.to_json(), "file")
    assert build(again).eval()(IMAGES).shape == (2, 4)


def test_it_is_a_setting_of_networks_alone():
    check_calls({"module": {"student": NODE}})
    optimizer = {"_target_": "torch.optim.SGD", "_partial_": True, "output": "logits"}
    with pytest.raises(ConfigError, match=r"module.optimizer.output=logits: torch.optim.SGD takes"):
        check_calls({"module": {"optimizer": optimizer}})


def test_the_error_says_how_it_is_added():
    with pytest.raises(ConfigError, match=r"Fix: \+module\.student\.output=logits$"):
        list(configs(Command(ROOT / "conf", overrides=("module.student.output=logits",))))
    (cfg,) = configs(Command(ROOT / "conf", overrides=("+module.student.output=logits",)))
    assert OmegaConf.select(cfg, "module.student.output") == "logits"
