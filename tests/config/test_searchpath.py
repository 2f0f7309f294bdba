"""Folders of configs beside the main one, searched as Hydra's command would."""

import pytest

from potstill.config.compose import Command, configs
from potstill.config.searchpath import check_searchpath
from potstill.errors import ConfigError
from tests.support.places import CONF_SAMPLE


def option(folder, name, text):
    (folder / "experiment").mkdir(parents=True, exist_ok=True)
    (folder / "experiment" / f"{name}.yaml").write_text(f"# @package _global_\n{text}\n")


def test_a_flags_folder_comes_before_typed_ones(tmp_path):
    flag, typed = tmp_path / "a folder, 'of mine'", tmp_path / "typed"
    option(flag, "both", "seed: 1")
    option(typed, "both", "seed: 2")
    option(typed, "other", "seed: 3")

    def seed(experiment):
        given = (f"hydra.searchpath=['file://{typed}']", f"experiment={experiment}")
        (cfg,) = configs(Command(CONF_SAMPLE, overrides=given, more_dirs=(flag,)))
        return cfg.seed

    assert (seed("both"), seed("other")) == (1, 3)


def test_a_main_config_may_lie_there_and_name_folders(tmp_path):
    option(tmp_path / "more", "x", "name: found")
    text = "defaults: [train, {override experiment: x}, _self_]\nhydra: {searchpath: ['ADDRESS']}"

    def name(address):
        (tmp_path / "main.yaml").write_text(text.replace("ADDRESS", address))
        (cfg,) = configs(Command(CONF_SAMPLE, "main", more_dirs=(tmp_path,)))
        return cfg.name

    assert name(f"file://{tmp_path / 'more'}") == "found"
    with pytest.raises(ConfigError, match=r"^hydra\.searchpath\.0=pkg://json: .*main\.yaml"):
        name("pkg://json")


def test_a_config_that_hydra_cannot_read_is_left_to_hydra(tmp_path):
    for text in ("a: [", "- list", "hydra: {searchpath: '${x}'}"):
        (tmp_path / "main.yaml").write_text(text)
        check_searchpath((tmp_path,), "main")
    check_searchpath((tmp_path,), "nowhere")
