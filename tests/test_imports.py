"""Imports go one way: what a package may import of this project, and of Lightning."""

import ast
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[1] / "src" / "potstill"
LEAVES = {"errors", "files", "__version__"}  # anyone may
PROCESSES = {"ranks", "launched"}  # any part of a run may ask which process it is in
RUN = {"callbacks", "cli", "compress", "ddp", "fit", "jobs", "predict", "replay", "results", "run"}
RUN |= {"same_config", "study", "trainer"}
ALLOWED = {
    "errors": set(),
    "files": set(),
    "lr": set(),
    "glance": set(),
    "record": {"glance", "sums"},
    "lean": set(),
    "lean_loop": set(),
    "quiet": set(),
    "same_config": set(),
    "signal": set(),
    "stages": set(),
    "tap": {"signal", "stages"},
    "heads": {"signal", "stages", "tap"},
    "models": set(),
    "data": set(),
    "pruning": {"stages"},
    "quantization": {"stages"},
    "teacher": {"models", "signal", "stages"},
    "machine": set(),
    "measure": {
        "artifact",
        "check",
        "compose",
        "export",
        "machine",
        "quiet",
        "report",
        "runtimes",
        "stages",
    },
    "runtimes": {"stages"},
    "export": {"quantization", "runtimes"},
    "recipe": set(),
    "artifact": {"check", "models", "pruning", "quantization", "recipe"},
    "weighting": {"heads"},
    "predict": {"batch", "stages"},
    "batch": set(),
    "calibration": set(),
    "sums": set(),
    "named_state": set(),
    "new_settings": set(),
    "validation": set(),
    "networks": {"heads", "kernels", "lean", "signal", "tap", "teacher"},
    "module": {
        "batch",
        "heads",
        "lr",
        "named_state",
        "networks",
        "record",
        "signal",
        "validation",
        "weighting",
    },
    "checkpoint": set(),
    "identity": set(),
    "metrics_file": set(),
    "callbacks": {
        "batch",
        "calibration",
        "checkpoint",
        "data",  # the counter alone
        "record",
        "identity",
        "lr",
        "measure",
        "new_settings",
        "module",
        "predict",
        "pruning",
        "quantization",
        "recipe",
    },
    "report": {"machine"},
    "loggers": set(),
    "catalog": set(),
    "source": set(),
    "ranges": set(),
    "storage": set(),
    "targets": {"source"},
    "schema": {"catalog"},
    "chain": {"schema"},
    "explain": {"catalog", "source"},
    "compose": {"explain", "schema"},
    "check": {"chain", "ranges", "schema", "source", "targets"},
    "launched": set(),
    "launch": {"launched"},
    "jobs": {"compose", "launch"},
    "ddp": set(),
    "kernels": set(),
    "ranks": {"launched"},
    "cli": {"check", "compose", "jobs", "launch", "report", "storage", "run"},
    "summary": {"chain"},
    "about": {"data"},
    "trainer": {"check", "ddp", "kernels", "lean_loop", "metrics_file"},
    "fit": {
        "about",
        "artifact",
        "callbacks",
        "checkpoint",
        "data",
        "identity",
        "kernels",
        "models",
        "module",
        "recipe",
        "trainer",
    },
    "study": {
        "about",
        "artifact",
        "chain",
        "check",
        "data",
        "ddp",
        "fit",
        "identity",
        "loggers",
        "lr",
        "models",
        "module",
        "predict",
        "recipe",
        "replay",
        "report",
        "teacher",
        "trainer",
    },
    "replay": {"data", "kernels", "module", "tap", "teacher"},
    "compress": {
        "about",
        "artifact",
        "calibration",
        "callbacks",
        "chain",
        "check",
        "ddp",
        "fit",
        "loggers",
        "lr",
        "module",
        "recipe",
        "study",
    },
    "exports": {"about", "check", "data", "export", "report", "runtimes", "study"},
    "timing": {"export", "measure", "quantization", "runtimes"},
    "results": {"data", "loggers", "measure", "predict", "report", "study", "teacher", "timing"},
}
LIGHTNING = {"callbacks", "compress", "data", "ddp", "fit", "jobs", "loggers", "metrics_file"}
LIGHTNING |= {"lean", "lean_loop", "module", "results", "run", "study", "trainer"}


def imported(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module == "potstill":
            yield from (f"potstill.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
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
    ours -= PROCESSES if here in RUN else set()
    if here != "run":  # the run joins everything; only the command line may start it
        assert ours <= ALLOWED[here], f"{here} may not import {ours - ALLOWED[here]}"
    if here not in LIGHTNING:
        assert not [name for name in names if name.split(".")[0] in ("lightning", "hydra")] or (
            here in {"check", "cli", "compose", "explain", "schema"}
        )
