"""Imports go one way: what a package may import of this project, and of Lightning."""

import ast
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[1] / "src" / "potstill"
LEAVES = {"errors", "files"}  # anyone may
ALLOWED = {
    "errors": set(),
    "files": set(),
    "lr": set(),
    "quiet": set(),
    "signal": set(),
    "measure": {"stages"},
    "stages": set(),
    "tap": {"signal", "stages"},
    "heads": {"signal", "stages", "tap"},
    "models": set(),
    "data": set(),
    "teacher": {"models"},
    "weighting": {"heads"},
    "predict": {"stages"},
    "batch": set(),
    "sums": set(),
    "validation": set(),
    "module": {
        "batch",
        "heads",
        "lr",
        "signal",
        "sums",
        "tap",
        "teacher",
        "validation",
        "weighting",
    },
    "callbacks": {"module", "predict"},
    "report": {"measure"},
    "loggers": set(),
    "catalog": set(),
    "source": set(),
    "ranges": set(),
    "storage": set(),
    "targets": {"source"},
    "schema": {"catalog"},
    "explain": {"catalog", "source"},
    "compose": {"explain", "schema"},
    "check": {"ranges", "schema", "source", "targets"},
    "cli": {"check", "compose", "storage", "run"},
    "summary": set(),
    "fit": {"check", "data", "models", "module"},
    "study": {
        "check",
        "data",
        "fit",
        "loggers",
        "models",
        "module",
        "predict",
        "report",
        "teacher",
    },
    "results": {"loggers", "measure", "predict", "report", "study", "teacher"},
}
LIGHTNING = {"data", "module", "callbacks", "loggers", "fit", "study", "results", "run"}


def imported(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom):
            yield node.module or ""
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)


def place(path):
    return path.relative_to(SOURCE).parts[0].removesuffix(".py")


FILES = [path for path in sorted(SOURCE.rglob("*.py")) if path.name != "__init__.py"]


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(SOURCE)))
def test_imports_go_one_way(path):
    here, names = place(path), list(imported(path))
    ours = {name.split(".")[1] for name in names if name.startswith("potstill.")} - {here} - LEAVES
    if here != "run":  # the run joins everything; only the command line may start it
        assert ours <= ALLOWED[here], f"{here} may not import {ours - ALLOWED[here]}"
    if here not in LIGHTNING:
        assert not [name for name in names if name.split(".")[0] in ("lightning", "hydra")] or (
            here in {"check", "cli", "compose", "explain", "schema"}
        )
