"""Every wrong setting ends in one line with the full key, before torch is imported."""

import copy
import os
import shlex
import subprocess
import sys
from functools import cache

import pytest
import yaml
from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import open_dict

from potstill.config.compose import Command, configs
from potstill.config.options import groups
from potstill.config.validate import validate
from potstill.errors import PotstillError
from tests.support.places import CONF, ROOT

TABLE = yaml.safe_load((ROOT / "tests" / "config" / "wrong_settings.yaml").read_text())
ROWS = [tuple(row) for group in TABLE.values() for row in group]


def words(given):
    """Return the arguments of a row, of which one that holds a mapping stands alone."""
    return shlex.split(given) if given.startswith("'") or "{" not in given else [given]


@cache
def composed(*overrides):
    [cfg] = configs(Command(CONF, overrides=overrides))
    return cfg


def is_of_a_group(line):
    key = line.partition("=")[0].lstrip("+~")
    return "@" in key or key in groups([CONF])


def checked(overrides):
    """Validate as a command does; what shares its groups is composed once, to save minutes."""
    chosen = [line for line in overrides if is_of_a_group(line)]
    values = [line for line in overrides if line not in chosen]
    try:
        cfg = copy.deepcopy(composed(*chosen))
        parsed = OverridesParser.create().parse_overrides(values)
        with open_dict(cfg.hydra):
            cfg.hydra.overrides.task = list(overrides)
        ConfigLoaderImpl._apply_overrides_to_config(parsed, cfg)
    except Exception:  # Hydra's own, which composing explains
        [cfg] = configs(Command(CONF, overrides=tuple(overrides)))
    validate(cfg)


@pytest.mark.parametrize(("given", "code", "start"), ROWS, ids=[row[0] for row in ROWS])
def test_each_is_refused_by_its_full_key(given, code, start):
    with pytest.raises(PotstillError) as caught:
        checked(words(given))
    line = str(caught.value)
    assert (caught.value.exit_code, "\n" in line) == (code, False)
    assert line.startswith(start)
    assert ". Fix: " in line


def test_the_table_is_long_enough_to_mean_something():
    assert len(ROWS) == len(set(ROWS)) >= 200


@pytest.mark.parametrize("row", ROWS[:: len(ROWS) // 20], ids=lambda row: row[0])
def test_some_as_commands(row, tmp_path):
    given, code, start = row
    done = subprocess.run(
        [sys.executable, "-X", "importtime", ROOT / "train.py", *words(given)],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT / "src")},
        capture_output=True,
        text=True,
    )
    imports = [line for line in done.stderr.splitlines() if line.startswith("import time:")]
    lines = [line for line in done.stderr.splitlines() if not line.startswith("import time:")]
    assert (done.returncode, len(lines)) == (code, 1), done.stderr[-2000:]
    assert lines[0].startswith(f"error: {start}")
    assert not [line for line in imports if line.rpartition("|")[2].strip() == "torch"]
    assert list(tmp_path.iterdir()) == []
