import importlib
import inspect
import re
import subprocess
import sys
from pathlib import Path

import pytest
from hydra.utils import instantiate
from omegaconf import OmegaConf

import potstill.heads
from potstill.heads.base import Head
from potstill.heads.index import catalog, main
from tests.support.places import CONF

OPTIONS = CONF / "head"
NAMES = [name for name, _ in catalog()]


def heads_of(name: str) -> list[type[Head]]:
    module = importlib.import_module(f"potstill.heads.{name}")
    own = [
        c for _, c in inspect.getmembers(module, inspect.isclass) if c.__module__ == module.__name__
    ]
    return [c for c in own if issubclass(c, Head) and c is not Head]


def test_every_head_is_listed():
    modules = [path.stem for path in Path(potstill.heads.__path__[0]).glob("*.py")]
    heads = {m for m in modules if m != "__init__" and heads_of(m)}
    assert sorted(heads) == NAMES


@pytest.mark.parametrize(("name", "line"), catalog())
def test_line_names_the_paper(name, line):
    assert re.search(r"(19|20)\d\d|arXiv:\d{4}\.\d{4,5}", line), f"{name}: {line}"


@pytest.mark.parametrize("name", NAMES)
def test_option_of_the_same_name_gives_all_settings(name):
    option = OmegaConf.merge({"temperature": 4.0}, OmegaConf.load(OPTIONS / f"{name}.yaml"))
    head = instantiate(option[name])
    assert type(head) in heads_of(name)
    given = set(option[name]) - {"_target_"}
    assert given == set(inspect.signature(type(head)).parameters)


def test_every_option_has_a_head():
    assert sorted(path.stem for path in OPTIONS.glob("*.yaml")) == NAMES


def test_one_line_a_head(capsys):
    main()
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == NAMES


def test_torch_is_not_loaded():
    code = "import sys, potstill.heads.index as c; c.catalog(); print('torch' in sys.modules)"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "False"
