"""The schema's types, the resolvers of conf/hydra, and the text of --help."""

import pytest
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf
from omegaconf.errors import ConfigKeyError, ValidationError

from potstill.config import options
from potstill.config.schema import Config
from tests.support.places import CONF, CONF_SAMPLE

REAL = CONF
SAMPLE = CONF_SAMPLE


def test_a_config_refuses_keys_and_types_it_does_not_declare():
    config = OmegaConf.structured(Config)
    assert config.alpha == 0.5
    config.alpha = None
    config.threads = 2
    with pytest.raises(ConfigKeyError, match="temprature"):
        config["temprature"] = 3
    with pytest.raises(ValidationError, match="could not be converted to Integer"):
        config.seed = 1.5
    with pytest.raises(ValidationError, match="epochs"):
        config.teacher.epochs = "many"


def test_run_folders_differ_between_configs_and_hold_within_one():
    with initialize_config_dir(str(SAMPLE), version_base="1.3"):
        first, second = (compose("train", return_hydra_config=True) for _ in range(2))
    assert first.hydra.run.dir == first.hydra.run.dir
    assert first.hydra.run.dir != second.hydra.run.dir
    assert first.hydra.run.dir.startswith("outputs/sample_")


def test_the_folder_of_a_sweep_survives_the_copy_that_its_jobs_get():
    with initialize_config_dir(str(REAL), version_base="1.3"):
        master, job = (compose("train", return_hydra_config=True) for _ in range(2))
    folder = master.hydra.sweep.dir
    OmegaConf.copy_cache(from_config=master, to_config=job)  # as Hydra does for each job
    assert job.hydra.sweep.dir == folder


def test_help_lists_every_option_with_its_first_sentence():
    lines = options.list_options([SAMPLE]).splitlines()
    assert "data: what to learn from" in lines
    assert "  fake                     Made-up images." in lines
    assert "  alone                    The student alone." in lines  # not its @package line
    assert "  kd" in lines  # has no comment


def test_a_dollar_in_a_comment_does_not_break_the_help_template():
    sources = [{"path": str(SAMPLE), "schema": "file", "provider": "main"}]
    config = OmegaConf.create({"s": sources, "text": "${potstill_options:${s}}"})
    assert "costs $$0." in config.text


def test_every_real_group_has_a_sentence_and_every_real_option_too():
    assert set(options.groups([REAL])) <= set(options.SENTENCES)
    silent = [file for file in REAL.glob("*/*.yaml") if not options.sentence(file)]
    assert silent == []


def test_options_come_from_all_folders_and_hydra_is_no_group(tmp_path):
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "mine.yaml").write_text("a: 1")
    assert options.options([SAMPLE, tmp_path], "data") == ["fake", "mine"]
    assert "hydra" not in options.groups([SAMPLE])
