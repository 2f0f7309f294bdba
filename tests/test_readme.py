"""What README.md says is there is there, and its examples run as they stand."""

import re
import shlex
import sys
from pathlib import Path

import lightning.pytorch as pl
import pytest
import torch
from sklearn.metrics import accuracy_score

import potstill.heads
from potstill.config import sources
from potstill.config.compose import Command, configs
from potstill.config.instantiate import instantiate
from potstill.config.validate import validate
from potstill.data.digits import Digits
from potstill.errors import PotstillError
from potstill.heads.index import catalog
from potstill.models.features.outputs import ModelOutputs

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
CONTRIBUTING = (ROOT / "docs" / "CONTRIBUTING.md").read_text(encoding="utf-8")
CODE = re.findall(r"^```(\w*)\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)
NEW_FILES = dict(re.findall(r"^`(\S+)`:\n\n```\w+\n(.*?)^```$", README, re.M | re.S))
ADDED = ("reverse_kl", "my_head")  # what the page's examples add
COMMANDS = sorted(
    set(re.findall(r"^(?:python train\.py|potstill(?! measure| report)) .*$", README, re.MULTILINE))
    | set(re.findall(r"`(python train\.py [^`]*)`", README))
)


def arguments(command):
    """Return (overrides, is it a sweep) of a command that runs something."""
    words = shlex.split(command)[1:]
    overrides = [word for word in words if "=" in word]
    return tuple(overrides), "-m" in words


def targets(makefile):
    return set(re.findall(r"^([a-z]+):", makefile, re.MULTILINE))


@pytest.mark.parametrize("command", [c for c in COMMANDS if not any(name in c for name in ADDED)])
def test_commands_are_valid(command):
    overrides, is_sweep = arguments(command)
    for cfg in configs(Command(ROOT / "conf", overrides=overrides, is_sweep=is_sweep)):
        validate(cfg)


def test_named_options_exist():
    named = re.findall(r"\b(experiment|data|logger|callbacks)=([a-z]\w*)", README)
    assert {group for group, _ in named} == {"experiment", "data", "logger", "callbacks"}
    missing = [pair for pair in named if not (ROOT / "conf" / pair[0] / f"{pair[1]}.yaml").exists()]
    assert missing == []


def test_every_experiment_but_the_default_is_named():
    files = {path.stem for path in (ROOT / "conf" / "experiment").glob("*.yaml")}
    assert set(re.findall(r"experiment=(\w+)", README)) == files - {"digits"}


def test_named_heads_exist():
    lists = re.findall(r"heads=\[([\w,]+)\]", README)
    named = {name for names in lists for name in names.split(",")}
    heads = {name for name, _ in catalog()}
    assert named - heads <= set(ADDED)
    assert [name for name in measured_heads() if name not in heads] == []


def test_number_of_losses_is_that_of_the_table():
    number = int(re.search(r"(\d+) published losses", README).group(1))
    assert number == len(measured_heads()) <= len(catalog())


def measured_heads():
    """The heads of the table; one that is not measured yet is no mistake."""
    table = re.search(r"<!-- heads -->(.*?)<!-- /heads -->", README, re.DOTALL).group(1)
    return re.findall(r"^\| `(\w+)`", table, re.MULTILINE)


def test_make_targets_exist():
    named = set(re.findall(r"^make (\w+)", README, re.MULTILINE))
    assert named == {"demo", "test", "install", "quick", "slow", "lint", "format"}
    known = targets((ROOT / "Makefile").read_text())
    assert named <= known
    assert set(re.findall(r"`make (\w+)`", CONTRIBUTING)) <= known


@pytest.mark.parametrize("page", ["README.md", "docs/CONTRIBUTING.md"])
def test_linked_and_named_files_exist(page):
    text, folder = (ROOT / page).read_text(encoding="utf-8"), (ROOT / page).parent
    linked = re.findall(r"\]\(([^)#:]+)\)", text)
    named = re.findall(r"`((?:notebooks|tests|src|conf)/[\w/.]+|constraints\.txt)`", text)
    new = {path for path in NEW_FILES if page == "README.md"}  # the example writes them
    places = (ROOT, ROOT / "tests" / "mylab")  # a plugin's files are named as in its folder
    assert linked
    assert [path for path in linked if not (folder / path).exists()] == []
    gone = [name for name in set(named) - new if not any((p / name).exists() for p in places)]
    assert gone == []


def test_exit_codes_are_those_of_the_errors():
    table = set(map(int, re.findall(r"^\| (\d+)(?:, \d+)? \|", README, re.MULTILINE)))
    codes = {kind.exit_code for kind in PotstillError.__subclasses__() if "exit_code" in vars(kind)}
    assert table == codes | {0, 1, 130}


@pytest.fixture
def new_head(tmp_path, monkeypatch):
    """The page's example, in folders beside the real ones."""
    folders = {"src": tmp_path / "src", "conf": tmp_path / "conf", "tests": tmp_path / "tests"}
    for path, text in NEW_FILES.items():
        file = tmp_path / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    extra, file_of = folders["src"] / "potstill" / "heads", sources.file_of
    monkeypatch.setattr(potstill.heads, "__path__", [*potstill.heads.__path__, str(extra)])
    found = {"potstill.heads.reverse_kl": extra / "reverse_kl.py"}
    monkeypatch.setattr(sources, "file_of", lambda module: found.get(module) or file_of(module))
    yield folders
    sys.modules.pop("potstill.heads.reverse_kl", None)


def test_new_head_agrees_with_its_own_test(new_head):
    space = {}
    exec(
        compile((new_head["tests"] / "heads/test_reverse_kl.py").read_text(), "README", "exec"),
        space,
    )
    tests = [name for name in space if name.startswith("test_")]
    assert tests == ["test_value_is_scipys"]
    for seed in range(3):
        torch.manual_seed(seed)
        space[tests[0]]()


def test_new_head_is_an_option_from_its_yaml_alone(new_head):
    command = next(c for c in COMMANDS if "reverse_kl" in c)
    overrides, _ = arguments(command)
    (cfg,) = configs(Command(ROOT / "conf", overrides=overrides, more_dirs=(new_head["conf"],)))
    head = instantiate(cfg.module.heads.reverse_kl)
    logits = torch.tensor([[0.0, 1.0]])
    loss = head(ModelOutputs(logits), ModelOutputs(logits.flip(1)), torch.zeros(1))
    # p = (s, 1 - s), q = (1 - s, s) with s = sigmoid(-1): KL = (1 - 2 s) * 1.
    assert loss.item() == pytest.approx(1 - 2 * torch.sigmoid(torch.tensor(-1.0)).item())
    assert NEW_FILES["src/potstill/heads/reverse_kl.py"].count("\n") <= 22


def test_example_without_hydra(monkeypatch, tmp_path, capsys):
    (code,) = [text for _, text in CODE if "pl.Trainer" in text]
    assert len([line for line in code.splitlines() if line]) <= 15
    few = Digits().load()[1]
    monkeypatch.setattr(Digits, "load", lambda self: (few[:330], few[330:]))
    quiet = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False}
    quiet |= {"accelerator": "cpu", "enable_model_summary": False, "default_root_dir": tmp_path}
    trainer = pl.Trainer
    monkeypatch.setattr(pl, "Trainer", lambda max_epochs: trainer(max_epochs=2, **quiet))
    torch.manual_seed(0)
    space = {}
    exec(compile(code, "README", "exec"), space)
    student, teacher, data = (space[name] for name in ("student", "teacher", "data"))
    assert not any(p.requires_grad for p in teacher.parameters())
    assert all(p.requires_grad for p in student.parameters())
    (batch,) = data.val_dataloader()
    ours, theirs = (net(batch[0]).argmax(1) for net in (student, teacher))
    found = space["trainer"].callback_metrics
    assert found["val/accuracy"].item() == pytest.approx(accuracy_score(batch[1], ours))
    assert found["val/agreement"].item() == pytest.approx(accuracy_score(theirs, ours))
    assert "val/accuracy" in capsys.readouterr().out
