"""`import potstill`: its names, found when they are used, and the guide in its docstring."""

import ast
import doctest
import importlib
import re
import subprocess
import sys

import pytest

import potstill
from tests.support.places import ROOT, SOURCE


def python(code, *flags):
    return subprocess.run(
        [sys.executable, *flags, "-c", code], capture_output=True, text=True, check=True
    ).stdout


def test_listing_the_names_imports_nothing_slow():
    code = (
        "import potstill, sys; print(potstill.__doc__, dir(potstill)); print(sorted(sys.modules))"
    )
    *_, listed, modules = python(code).splitlines()
    assert {"DistillationModule", "KD", "prune_channels", "__version__"} <= set(
        ast.literal_eval(listed)
    )
    slow = {"torch", "numpy", "lightning", "hydra", "omegaconf"}
    assert slow & set(modules) == set()


@pytest.mark.parametrize("name", potstill.__all__)
def test_a_name_is_what_its_module_defines(name):
    found = getattr(potstill, name)
    assert found.__name__ == name
    assert found is getattr(importlib.import_module(found.__module__), name)


def test_another_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="module 'potstill' has no attribute 'Distil'"):
        potstill.Distil  # noqa: B018


def test_every_head_of_the_table_is_offered():
    table = (ROOT / "README.md").read_text(encoding="utf-8").partition("<!-- heads -->")[2]
    heads = re.findall(r"^\| `(\w+)`", table, re.MULTILINE)
    modules = {f"potstill.heads.{name}" for name in heads}
    assert len(modules) > 20
    assert modules - {getattr(potstill, name).__module__ for name in potstill.__all__} == set()


def test_the_guide_runs():
    tests = doctest.DocTestFinder(recurse=False).find(potstill)
    results = [doctest.DocTestRunner().run(test) for test in tests]
    assert [(result.failed, result.attempted > 5) for result in results] == [(0, True)]


def test_type_checkers_know_the_names():
    """They read the stub, in which `import X as X` is an export, of a package with py.typed."""
    assert (SOURCE / "py.typed").is_file()
    stub = ast.parse((SOURCE / "__init__.pyi").read_text())
    aliases = [a for node in stub.body if isinstance(node, ast.ImportFrom) for a in node.names]
    assert [alias.name for alias in aliases if alias.asname != alias.name] == []
    assert sorted(alias.name for alias in aliases) == potstill.__all__
