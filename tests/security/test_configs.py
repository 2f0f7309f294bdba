"""Config files that try to run something or to write elsewhere: one line each, nothing else."""

import ast
import subprocess
import sys
from contextlib import suppress

import pytest

from potstill.cli import train
from potstill.config import allow_list, hydra_node
from potstill.config.hydra_rules import RULES, May, rule_for
from potstill.config.introspect import find
from potstill.config.kinds import ANYTHING, KINDS
from potstill.config.signatures import signature
from potstill.errors import ConfigError
from tests.support.attempts import Attempts, check
from tests.support.hostile_configs import ALL, CALLS, HARMLESS, HYDRA, PLACES
from tests.support.places import ROOT, SOURCE


@pytest.fixture
def attempts(tmp_path, monkeypatch):
    made = Attempts(tmp_path)
    monkeypatch.chdir(made.work)
    monkeypatch.syspath_prepend(str(made.work))
    yield made
    assert made.done() == []


def refusal(argv):
    """Return the line that refuses a command, or nothing where it is not refused."""
    try:
        check(argv)
    except ConfigError as error:
        return str(error)
    return ""


def test_the_table_is_long():
    assert len(ALL) >= 150
    assert min(len(CALLS), len(HYDRA), len(PLACES)) >= 40


@pytest.mark.parametrize("hostile", ALL, ids=lambda hostile: hostile.what)
def test_what_a_file_may_not_is_one_line_with_its_key(hostile, attempts):
    line = refusal(attempts.command(hostile))
    assert line.startswith(attempts.filled(hostile.key))
    assert "Fix: " in line
    assert len(line.splitlines()) == 1


@pytest.mark.parametrize("harmless", HARMLESS, ids=lambda harmless: harmless.what)
def test_what_a_file_or_a_command_may_is_let_through(harmless, attempts):
    assert refusal(attempts.command(harmless)) == ""


def functions():
    """Yield the dotted name of each function in potstill's own modules."""
    for file in sorted(SOURCE.rglob("*.py")):
        module = ".".join(file.relative_to(SOURCE.parent).with_suffix("").parts)
        for node in ast.parse(file.read_text()).body:
            if isinstance(node, ast.FunctionDef):
                yield f"{module.removesuffix('.__init__')}.{node.name}"


def test_no_function_that_starts_writes_or_loads_has_a_place():
    builders = "potstill.models."
    others = {
        "potstill.artifact.file.load_network",  # reads an artifact, which is data
        "potstill.training.loggers.wandb.wandb_logger",
        *(f"potstill.training.schedules.{name}" for name in ("cosine", "step", "constant")),
    }
    found = set()
    for name in functions():
        with suppress(ConfigError):
            allow_list.permit(name, "node", ANYTHING)
            found.add(name)
    ours = {name for name in found if name.startswith(builders)}
    assert found - ours == others
    assert all("num_classes" in signature(find(name)).names for name in ours)


NODES = [row for row in HYDRA if row.key.startswith(("hydra.hydra_logging.f", "hydra.searchpath"))]


@pytest.mark.parametrize(
    "flag", ["--help", "--hydra-help", "--cfg=job", "--cfg=hydra", "--info=all"]
)
def test_flags_that_print_are_no_way_round_it(flag, attempts):
    assert len(NODES) >= 6
    for hostile in NODES:
        line = refusal(attempts.command(hostile, flag))
        assert line.startswith(hostile.key)


# -- as commands ------------------------------------------------------------------------------


COMMANDS = {
    "a command at callbacks.x": (),
    "positional arguments at callbacks.x": ("-m", "seed=1,2"),
    "a plugin that nobody named at callbacks.x": (),
    "oc.create at hydra.callbacks.x": (),
    "a formatter at hydra.hydra_logging": ("--help",),
    "a handler at hydra.hydra_logging": ("--info=all",),
    "packages by reference": ("--cfg=job",),
    "a path of code at hydra.job.env_set": ("trainer.devices=2",),
    "a folder of a sweeper": (),
    "a typed name": (),
    "the run at hydra.run.dir": (),
    "the store at teacher.store_dir": (),
}


@pytest.mark.parametrize("what", COMMANDS)
def test_commands_end_with_the_line_and_code_2(what, attempts):
    hostile = next(row for row in ALL if row.what == what)
    more = COMMANDS[what]
    flags = [part for part in more if part.startswith("-")]
    values = [part for part in more if not part.startswith("-")]
    argv = [*attempts.command(hostile, *flags), *values]
    done = subprocess.run(
        [sys.executable, ROOT / "train.py", *argv], capture_output=True, text=True, check=False
    )
    assert done.stderr.startswith(f"error: {attempts.filled(hostile.key)}")
    assert done.stderr.count("\n") == 1
    assert (done.returncode, done.stdout) == (2, "")


# -- each check counts ------------------------------------------------------------------------


KIND_ROWS = {
    "head": "module.heads.kd", "model": "module.student", "module": "module", "task": "task",
    "optimizer": "module.optimizer", "scheduler": "module.scheduler", "schedule": "temperature",
    "data": "data", "dataset": "data.train", "callback": "callbacks.x",
    "criterion": "stages.s.transforms.x.criterion", "stage": "stages.s.transforms.x",
    "exporter": "export.x", "logger": "logger.x", "trainer": "trainer",
    "profiler": "trainer.profiler", "strategy": "trainer.strategy",
    "hydra_callback": "hydra.callbacks.x", "part": "callbacks.x.on_fit_start",
}  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
def test_letting_a_kind_through_fails_a_row(kind, attempts, monkeypatch):
    key = f"{KIND_ROWS[kind]}._target_"
    row = next(row for row in ALL if row.key == key)
    argv = attempts.command(row)
    real = allow_list._refusal
    monkeypatch.setattr(
        allow_list, "_refusal", lambda found, one: "" if one is KINDS[kind] else real(found, one)
    )
    assert not refusal(argv).startswith(key)


def keys_of(row):
    """Return the keys under `hydra` that a row's line begins with."""
    return row.key.partition("=")[0].split(".")[1:]


TEXTS = ("ext://evil.x", "/x", "../x")
HELD = [rule for rule in RULES if not all(rule.holds(text, ROOT) for text in TEXTS)]


NAMED = {rule.holds: rule.keys for rule in HELD}


@pytest.mark.parametrize("holds", NAMED, ids=lambda holds: NAMED[holds])
def test_letting_a_rule_go_fails_a_row(holds, attempts, monkeypatch):
    def let_go(keys):
        rule = rule_for(keys)
        return May("**", lambda value, run: True, "") if rule and rule.holds is holds else rule

    rows = [row for row in (*HYDRA, *PLACES) if row.key.startswith("hydra.") and " " not in row.key]
    row = next(row for row in rows if getattr(rule_for(keys_of(row)), "holds", None) is holds)
    argv, key = attempts.command(row), attempts.filled(row.key)
    monkeypatch.setattr(hydra_node, "rule_for", let_go)
    assert not refusal(argv).startswith(key)


def test_letting_go_what_no_rule_names_fails_rows(attempts, monkeypatch):
    rows = [row for row in HYDRA if row.key.startswith("hydra.job.env_set.")]
    assert len(rows) >= 3
    monkeypatch.setattr(hydra_node, "rule_for", lambda keys: May("**", lambda *_: True, ""))
    assert [refusal(attempts.command(row)) for row in rows] == [""] * len(rows)


@pytest.mark.parametrize("check", ["check_hydra", "check_places", "check_name"])
def test_letting_a_whole_check_go_fails_rows(check, attempts, monkeypatch):
    monkeypatch.setattr(train, check, lambda *args: None)
    known = {"check_hydra": HYDRA[0], "check_places": PLACES[-1], "check_name": PLACES[0]}
    assert not refusal(attempts.command(known[check])).startswith(known[check].key)
