"""Every file in conf/criterion builds the criterion of its name, with all its settings."""

import importlib
import inspect
from pathlib import Path

import pytest
from hydra.utils import instantiate
from omegaconf import OmegaConf

from potstill.pruning.channels.criteria.base import Criterion
from tests.support.places import CONF

OPTIONS = CONF / "criterion"
NAMES = sorted(path.stem for path in OPTIONS.glob("*.yaml"))


@pytest.mark.parametrize("name", NAMES)
def test_option_gives_all_settings(name):
    option = OmegaConf.load(OPTIONS / f"{name}.yaml")
    criterion = instantiate(option)
    module = importlib.import_module(f"potstill.pruning.channels.criteria.{name}")
    assert isinstance(criterion, Criterion)
    assert type(criterion).__module__ == module.__name__
    assert set(option) - {"_target_"} == set(inspect.signature(type(criterion)).parameters)
    assert (OPTIONS / f"{name}.yaml").read_text().startswith("# ")


def test_every_criterion_has_an_option():
    folder = Path(inspect.getfile(Criterion)).parent
    files = {path.stem for path in folder.glob("*.py")}
    assert sorted(files - {"__init__", "base", "per_channel"}) == NAMES
