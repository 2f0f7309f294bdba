"""Names of builders and transforms are those of the source, a plugin's with its own before them."""

import sys

import pytest

from potstill.config import names
from tests.support.places import CONF


@pytest.fixture
def mylab(plugin):
    """A plugin of two modules."""
    return plugin(
        {
            "nets.py": "def my_net(num_classes, width=4): ...\n"
            "class Net:\n    def __init__(self, num_classes): ...\n"
            "def remove(path): ...\n"
            "def _hidden(num_classes): ...\n",
            "shapes.py": "def halve(network, layers): ...\ndef other(x): ...\n",
        }
    )


def test_a_builder_goes_by_its_function():
    assert names.builder_target("wide_resnet") == "potstill.models.wide_resnet.wide_resnet"
    assert names.builder_name("potstill.models.wide_resnet.wide_resnet") == "wide_resnet"


@pytest.mark.parametrize("name", ["load_weights", "_stage", "nothing", "", "a:b", "os.system"])
def test_only_builders_have_names(name):
    assert names.builder_target(name) is None


def test_every_option_of_model_but_those_of_files_has_a_name():
    targets = {
        line.split()[-1]
        for file in (CONF / "model").glob("*.yaml")
        for line in file.read_text().splitlines()
        if "_target_: potstill.models." in line
    }
    assert len(targets) >= 7
    for target in targets:
        assert names.builder_target(names.builder_name(target)) == target


def test_a_plugin_brings_builders_and_transforms_unimported(mylab):
    assert names.builder_target("mylab:my_net") == "mylab.nets.my_net"
    assert names.builder_name("mylab.nets.Net") == "mylab:Net"
    assert names.transform_target("mylab:halve") == "mylab.shapes.halve"
    for name in ("mylab:remove", "mylab:_hidden", "mylab:halve"):
        assert names.builder_target(name) is None
    for name in ("mylab:other", "mylab:my_net", "halve"):
        assert names.transform_target(name) is None
    assert "mylab" not in sys.modules


def test_settings_name_what_they_call():
    found = names.by_name(
        {
            "student": {"_target_": "potstill.models.small_cnn.small_cnn", "hidden": 4},
            "heads": [{"_target_": "potstill.heads.kd.KD"}],
            "optimizer": {"_target_": "torch.optim.sgd.SGD"},
        }
    )
    called = [found["student"]["_target_"], found["heads"][0]["_target_"]]
    assert called == ["small_cnn", "KD"]
    assert found["optimizer"]["_target_"] == "torch.optim.sgd.SGD"
