"""Imports go one way: a package imports lower floors alone."""

import ast
import re

import pytest

from tests.support.places import ROOT, SOURCE

FLOORS = [
    {"errors"},
    {"libraries", "atomic"},
    {"integrity"},
    {"config", "models"},
    {"data", "measure"},
    {"heads", "teacher", "quantization", "distributed"},
    {"tasks"},
    {"pruning", "export", "report"},
    {"artifact", "training"},
    {"benchmark"},
    {"pipeline"},
    {"cli"},
]
FLOOR = {name: floor for floor, names in enumerate(FLOORS) for name in names}
LIGHTNING = {
    "cli",
    "data",
    "distributed",
    "libraries",
    "pipeline",
    "training",
}  # may import Lightning
HYDRA = {"cli", "config", "distributed", "libraries", "pipeline"}
# Entry points may start whatever they stand for; __init__ offers names of every floor, lazily.
FILES = [path for path in sorted(SOURCE.rglob("*.py")) if path.stem not in ("__init__", "__main__")]


def imported(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module == "potstill":
            yield from (f"potstill.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.module or ""
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(SOURCE)))
def test_imports_go_down(path):
    here = path.relative_to(SOURCE).parts[0].removesuffix(".py")
    names = [name.split(".") for name in imported(path)]
    ours = {name[1] for name in names if name[0] == "potstill"} - {here, "__version__"}
    assert [name for name in ours if FLOOR[name] >= FLOOR[here]] == []
    others = {name[0] for name in names}
    assert "lightning" not in others or here in LIGHTNING
    assert "hydra" not in others or here in HYDRA


PAGE = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")


def test_the_architecture_page_lists_the_floors():
    rows = re.findall(r"^\| (\d+) \| (.*?) \|", PAGE, re.MULTILINE)
    listed = {int(floor): set(re.findall(r"`(\w+)`", names)) for floor, names in rows}
    assert listed == dict(enumerate(FLOORS))


def test_the_architecture_page_names_what_is_there():
    named = set(re.findall(r"\w+/(?:\w+/)*(?:\w+\.py)?", PAGE)) - {"tests/test_imports.py"}
    assert len(named) > 20
    assert [name for name in named if not (SOURCE / name).exists()] == []
