"""What is pinned fits what is asked for; nothing tracked names an index or reads code from data."""

import ast
import re
import shutil
import subprocess
import tomllib
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.version import Version

import potstill
from potstill.cli.entry import main

ROOT = Path(__file__).parents[1]
TOML = tomllib.loads((ROOT / "pyproject.toml").read_text())
PROJECT = TOML["project"]
PINS = [
    line
    for line in (ROOT / "constraints.txt").read_text().splitlines()
    if line and not line.startswith("#")
]
SOURCES = [*sorted((ROOT / "src").rglob("*.py")), ROOT / "train.py"]
INDEX = re.compile(
    r"https?://[^\s\"']*(?:/simple\b|/packages\b|registry|/whl\b|pypi\.org|pythonhosted)"
    r"|--(?:extra-)?index-url|--find-links|--trusted-host"
)
UNSAFE_MODULES = {"pickle", "cPickle", "dill", "cloudpickle", "joblib", "marshal", "shelve"}
UNSAFE_CALLS = {"eval", "exec", "__import__", "load_from_checkpoint"}


def requirements():
    extras = PROJECT["optional-dependencies"].values()
    lines = [*PROJECT["dependencies"], *(line for lines in extras for line in lines)]
    found = [Requirement(line) for line in lines]
    return {one.name: one.specifier for one in found if one.name != PROJECT["name"]}


def test_constraints_are_plain_pins():
    assert [line for line in PINS if not re.fullmatch(r"[\w.-]+==[\w.+]+", line)] == []


def test_every_requirement_is_pinned_and_every_pin_required():
    assert {line.split("==")[0] for line in PINS} == set(requirements())


@pytest.mark.parametrize("pin", PINS)
def test_pin_is_in_the_range_asked_for(pin):
    name, version = pin.split("==")
    assert Version(version) in requirements()[name]


def test_a_wheel_carries_the_configs_and_the_command():
    wheel = TOML["tool"]["hatch"]["build"]["targets"]["wheel"]
    assert wheel["force-include"] == {"conf": "potstill/conf"}
    assert (ROOT / "conf" / "train.yaml").is_file()
    assert EntryPoint("potstill", PROJECT["scripts"]["potstill"], "console_scripts").load() is main


def test_the_version_is_the_packages():
    citation = (ROOT / "CITATION.cff").read_text()
    assert PROJECT["version"] == potstill.__version__
    assert f"\nversion: {potstill.__version__}\n" in citation


def tracked():
    git = shutil.which("git")
    if git is None or not (ROOT / ".git").exists():
        pytest.skip("no git checkout: which files are tracked is not known")
    listed = subprocess.run(
        [git, "-c", f"safe.directory={ROOT}", "ls-files", "-z"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    files = [ROOT / name for name in listed.stdout.split("\0") if name]
    return [file for file in files if file.is_file() and file != Path(__file__)]


def text_of(file):
    try:
        return file.read_text(encoding="utf-8")
    except UnicodeDecodeError:
        return ""


def test_no_tracked_file_names_a_package_index():
    files = [file for file in tracked() if file.suffix != ".md"]
    assert len(files) > 100
    assert [file for file in files if INDEX.search(text_of(file))] == []


@pytest.mark.parametrize(
    "line",
    [
        "--extra-index-url https://example.org/simple",
        'url = "https://mirror.example.org/pypi/simple/"',
        "https://files.pythonhosted.org/packages/ab/torch.whl",
        "https://registry.example.org/npm",
        "https://download.pytorch.org/whl/cpu",
    ],
)
def test_an_index_would_be_found(line):
    assert INDEX.search(line)


def dangers(code):
    """Return what in `code` could run code that came with data, as 'line: what'."""
    found = []
    for node in ast.walk(ast.parse(code)):
        what = _danger(node)
        if what:
            found.append(f"{node.lineno}: {what}")
    return found


def _danger(node):
    if isinstance(node, ast.Import | ast.ImportFrom):
        module = getattr(node, "module", None)
        names = [module] if module else [alias.name for alias in node.names]
        return next((name for name in names if name.split(".")[0] in UNSAFE_MODULES), None)
    if not isinstance(node, ast.Call):
        return None
    called = ast.unparse(node.func)
    given = {key.arg: ast.unparse(key.value) for key in node.keywords}
    if called in UNSAFE_CALLS or called.endswith(".load_from_checkpoint"):
        return called
    if called in ("torch.load", "load_state_dict_from_url", "torch.hub.load_state_dict_from_url"):
        return None if given.get("weights_only") == "True" else f"{called} without weights_only"
    if given.get("allow_pickle", "False") != "False" or given.get("weights_only") == "False":
        return f"{called} that unpickles"
    return called if called == "torch.hub.load" else None


@pytest.mark.parametrize("file", SOURCES, ids=lambda file: str(file.relative_to(ROOT)))
def test_source_runs_nothing_that_came_with_data(file):
    assert dangers(file.read_text(encoding="utf-8")) == []


@pytest.mark.parametrize(
    "code",
    [
        "import pickle",
        "from pickle import load",
        "import joblib as j",
        "torch.load(path)",
        "torch.load(path, weights_only=False)",
        "trainer.fit(module, weights_only=False)",
        "np.load(path, allow_pickle=True)",
        "eval('1 + 1')",
        "exec(text)",
        "Module.load_from_checkpoint(path)",
        "torch.hub.load('owner/name', 'model')",
        "load_state_dict_from_url(address)",
    ],
)
def test_a_danger_would_be_found(code):
    assert len(dangers(code)) == 1


@pytest.mark.parametrize(
    "code", ["network.eval()", "torch.load(path, weights_only=True)", "np.load(path)"]
)
def test_ordinary_code_is_no_danger(code):
    assert dangers(code) == []
