"""Any text comes through Hydra and a shell as it was, and an error shows how it is typed."""

import subprocess

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import OmegaConf

from potstill.config import quoting
from potstill.config.compose import Command, configs
from potstill.errors import ConfigError
from tests.support.places import ROOT

NAMES = [
    "plain", "a b", "lr=0.1", "a,b", "ü", "日本", "~x", "$x", "${x}", "100%", "it's", "(1)", "[1]",
    "{a: 1}", 'say "hi"', "back\\slash", "end\\", "#1", "a;b", "a&b", "`id`", "!x", "x" * 200,
]  # fmt: skip


@pytest.mark.parametrize("name", NAMES)
def test_a_text_comes_through_a_shell_and_hydra(name):
    text = f"/data/{name}"
    typed = quoting.in_shell("data.root", text)
    shell = subprocess.run(["sh", "-c", f"printf %s {typed}"], capture_output=True, text=True)
    (parsed,) = OverridesParser.create().parse_overrides([shell.stdout])
    assert OmegaConf.create({"root": parsed.value()}).root == text
    assert parsed.key_or_group == "data.root"


def test_a_home_folder_is_named_in_full(monkeypatch):
    monkeypatch.setenv("HOME", "/home/me")
    assert quoting.in_shell("data.root", "~/data") == "data.root=/home/me/data"
    assert quoting.in_shell("data.root", "~/a b") == "'data.root=\"/home/me/a b\"'"


def line_of(*overrides):
    with pytest.raises(ConfigError) as raised:
        list(configs(Command(ROOT / "conf", overrides=overrides)))
    assert "\n" not in str(raised.value)
    return str(raised.value)


@pytest.mark.parametrize("key", ["hydra.run.dir", "data.root", "teacher.store_dir"])
@pytest.mark.parametrize("name", ["lr=0.1", "a,b", "ü", "~x", "it's", "(1)"])
def test_what_an_error_prints_is_what_to_type(key, name):
    given = ["data=cifar10", f"{key}=/out/{name}"]
    line = line_of(*given)
    typed = line[line.rindex(f"'{key}=") :].removesuffix(" for one text")
    shell = subprocess.run(["sh", "-c", f"printf %s {typed}"], capture_output=True, text=True)
    (cfg,) = configs(Command(ROOT / "conf", overrides=("data=cifar10", shell.stdout)))
    assert OmegaConf.select(cfg, key) == f"/out/{name}"


def test_a_space_that_the_shell_took_is_put_back():
    line = line_of("seed=1", "data.root=/my", "data")
    assert line == "data.root=/my data: is not key=value. Fix: 'data.root=\"/my data\"'"


@pytest.mark.parametrize(
    ("override", "fix"),
    [
        ("stages=[a", "Fix: close what it opens, or 'stages=\"[a\"' for a text"),
        ("a b=1", "Fix: 'key=\"a, b\"' for odd text"),
        ("seed=1,2", "Fix: -m to sweep over the values, key=[a,b] for a list, or 'seed=\"1,2\"'"),
    ],
)
def test_other_mistakes_keep_their_own_advice(override, fix):
    assert fix in line_of(override)
