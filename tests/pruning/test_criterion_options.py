"""Every file in conf/criterion and conf/weight_criterion builds the criterion of its name."""

import importlib
import inspect
from functools import partial
from pathlib import Path

import pytest
from hydra.utils import instantiate
from omegaconf import OmegaConf

from potstill.errors import ConfigError
from potstill.pipeline.stages.prune_channels import PruneChannels
from potstill.pipeline.stages.prune_weights import PruneWeights
from potstill.pruning.channels.criteria.base import Criterion as ChannelCriterion
from potstill.pruning.weights.criteria.base import Criterion as WeightCriterion
from tests.support.places import CONF

CONTRACTS = {"criterion": ChannelCriterion, "weight_criterion": WeightCriterion}
OPTIONS = [path for group in CONTRACTS for path in sorted((CONF / group).glob("*.yaml"))]


@pytest.mark.parametrize("path", OPTIONS, ids=lambda path: f"{path.parent.name}-{path.stem}")
def test_option_gives_all_settings(path):
    option, contract = OmegaConf.load(path), CONTRACTS[path.parent.name]
    criterion = instantiate(option)
    package = contract.__module__.rpartition(".")[0]
    module = importlib.import_module(f"{package}.{path.stem}")
    assert isinstance(criterion, contract)
    assert type(criterion).__module__ == module.__name__
    assert set(option) - {"_target_"} == set(inspect.signature(type(criterion)).parameters)
    assert path.read_text().startswith("# ")


@pytest.mark.parametrize("group", CONTRACTS)
def test_every_criterion_has_an_option(group):
    folder = Path(inspect.getfile(CONTRACTS[group])).parent
    files = {path.stem for path in folder.glob("*.py")} - {"__init__", "base", "per_channel"}
    assert files == {path.stem for path in OPTIONS if path.parent.name == group}


@pytest.mark.parametrize(
    ("group", "stage", "message"),
    [
        ("criterion", partial(PruneWeights, 0.5), "criterion=LAMP: does not score single weights"),
        ("weight_criterion", PruneChannels, "criterion=LAMP: does not score channels"),
    ],
)
def test_a_criterion_of_the_other_kind_is_refused(group, stage, message):
    lamp = instantiate(OmegaConf.load(CONF / group / "lamp.yaml"))
    with pytest.raises(ConfigError, match=message):
        stage(lamp)
