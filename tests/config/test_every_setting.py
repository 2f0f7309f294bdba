"""Every key that a config file declares, with a value of a wrong type and one out of range."""

import re
from functools import cache

import pytest
from omegaconf import OmegaConf

from potstill.config.arguments import check_arguments
from potstill.config.calls import HYDRA_KEYS, check_call
from potstill.config.compose import Command, configs
from potstill.config.introspect import find
from potstill.config.kinds import kind_at, nodes
from potstill.config.options import options
from potstill.config.rules import ranges_of
from potstill.errors import ConfigError
from tests.support.places import CONF

WHERE = {
    "head": "head@module.heads=[{}]",
    "model": "model@module.student={}",
    "optimizer": "optimizer@module.optimizer={}",
    "scheduler": "scheduler@module.scheduler={}",
    "stage": "+stage@stages.a={}",
    "export": "export=[{}]",
    "callbacks": "callbacks={}",
    "logger": "logger={}",
    "data": "data={}",
    "trainer": "trainer={}",
    "task": "task={}",
}
UNFIT = {"wrong": "type"}  # a mapping that is no call: nothing takes one
SCHEMA = "potstill.config.schema."


def distinct():
    """Yield (group, option), of those that call the same things the first."""
    seen = set()
    for group in WHERE:
        for option in options([CONF], group):
            text = (CONF / group / f"{option}.yaml").read_text()
            called = (group, *re.findall(r"_target_: *(\S+)", text))
            if called not in seen:
                yield group, option
            seen.add(called)


GROUPS = list(distinct())


@cache
def composed(*overrides):
    if "data=dataset" in overrides:
        dataset = "{_target_: torch.utils.data.dataset.TensorDataset}"
        overrides = (*overrides, "data.num_classes=10", f"data.train={dataset}")
    [cfg] = configs(Command(CONF, overrides=overrides))
    plain = OmegaConf.masked_copy(cfg, [key for key in cfg if key != "hydra"])
    return OmegaConf.to_container(plain, resolve=True)


def out_of_range(rule):
    """Return a value that a rule excludes, by its notation alone; None where that is unclear."""
    if isinstance(rule, list):
        return [] if rule else None
    if isinstance(rule, bool):
        return not rule
    if isinstance(rule, tuple):
        return "none of these"
    if rule == "not empty":
        return ""
    return None if "-inf" in rule else "0:0" if rule.startswith("like") else -(10**9)


@pytest.mark.parametrize(("group", "option"), GROUPS, ids=["=".join(pair) for pair in GROUPS])
def test_every_declared_argument(group, option):
    config = composed(WHERE[group].format(option))
    roots = {"head": "module", "model": "module", "optimizer": "module", "scheduler": "module"}
    roots |= {"stage": "stages"}
    found = 0
    for keys, node in nodes(config):
        if keys[0] != roots.get(group, group):
            continue
        path, ranges = ".".join(keys), ranges_of(find(node["_target_"]))
        for name in (name for name in node if name not in HYDRA_KEYS):
            wrong = [UNFIT]
            if name in ranges and (bad := out_of_range(ranges[name])) is not None:
                wrong.append(bad)
            for value in wrong:
                with pytest.raises(ConfigError) as caught:
                    check_call({**node, name: value}, path, kind_at(keys))
                assert str(caught.value).startswith(f"{path}.{name}="), caught.value
                found += 1
    assert found or group in ("export", "logger", "callbacks", "stage")


@pytest.mark.parametrize("schema", ["Config", "TeacherSettings", "StageSettings"])
def test_every_setting_of_the_run_itself(schema):
    definition = find(SCHEMA + schema)
    values = composed() if schema == "Config" else composed()["teacher"]
    if schema == "StageSettings":
        values = composed("+stage@stages.a=prune")["stages"]["a"]
    free = {"temperature", "data", "task", "module", "trainer", "transforms", "stages", "teacher"}
    free |= {"callbacks", "logger", "export", "budget"}  # checked for what they hold
    ranges = ranges_of(definition)
    for name in values.keys() - free:
        wrong = [UNFIT, *([out_of_range(ranges[name])] if name in ranges else [])]
        for value in wrong:
            with pytest.raises(ConfigError, match=f"^{name}=") as caught:
                check_arguments({name: value}, "", definition)
            assert str(caught.value).startswith(f"{name}=")
