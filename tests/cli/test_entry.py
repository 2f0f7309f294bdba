"""The console command: which part of potstill a first word starts."""

import subprocess
import sys

import pytest

from potstill import __version__
from potstill.cli import entry, train
from tests.cli.test_train import conf  # noqa: F401
from tests.support.places import CONF


@pytest.fixture
def run(conf, monkeypatch):  # noqa: F811
    """Run the command from an empty folder, on the sample configs; a training only notes itself."""
    seen = []
    monkeypatch.setattr(train, "_run", seen.append)
    monkeypatch.setattr(train, "conf_folder", lambda: conf)

    def run(*argv):
        monkeypatch.setattr(sys, "argv", ["potstill", *argv])
        return entry.main(), seen

    return run


@pytest.mark.parametrize(
    "argv", [["train", "temperature=2"], ["temperature=2"], ["++temperature=2"]]
)
def test_settings_train(run, argv):
    code, (cfg,) = run(*argv)
    assert (code, cfg.temperature) == (0, 2)


def test_nothing_trains_the_default_run(run):
    for argv in ([], ["train"]):
        code, seen = run(*argv)
        assert code == 0
        assert seen.pop().name == "sample"


def test_a_flag_trains(run):
    code, seen = run("-m", "seed=1,2")
    assert (code, [cfg.seed for cfg in seen]) == (0, [1, 2])


@pytest.mark.parametrize("word", ["mesure", "my-run", "outputs/runs"])
def test_another_word_is_one_line_that_names_the_commands(run, capsys, word):
    assert run(word) == (2, [])
    line = f"error: {word}: no command of potstill. Fix: train, measure, report, or KEY=VALUE"
    assert capsys.readouterr().err.startswith(line)


@pytest.mark.parametrize("command", ["measure", "report"])
def test_the_other_commands_have_their_own_arguments(run, capsys, command):
    code, seen = run(command)
    out, err = capsys.readouterr()
    assert (code, seen, out) == (2, [], "")
    assert err.startswith("error: the following arguments are required: ")
    assert f"Fix: potstill {command} " in err


def test_help_is_short_and_names_every_command(run, capsys):
    assert run("--help") == (0, [])
    out = capsys.readouterr().out
    assert out.count("\n") < 20
    assert all(f"potstill {name}" in out for name in ("[train]", "measure", "report"))


@pytest.mark.parametrize("argv", [["--version"], ["train", "--version"]])
def test_the_version_is_ours(run, capsys, argv):
    assert run(*argv) == (0, [])
    assert capsys.readouterr().out == f"potstill {__version__}\n"


def test_training_help_says_how_it_was_started(run, capsys):
    with pytest.raises(SystemExit) as stop:  # Hydra's
        run("train", "--config-path", str(CONF), "--help")
    assert stop.value.code in (0, None)
    assert "  potstill experiment=OPTION key=value" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("module", "command"),
    [("measure", "measure"), ("benchmark", "measure"), ("report", "report")],
)
def test_the_old_spellings_go_on_and_say_the_new_one(module, command):
    done = subprocess.run(
        [sys.executable, "-m", f"potstill.{module}", "--help"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stderr == f"python -m potstill.{module}: is now `potstill {command}`\n"
    assert done.stdout.startswith(f"usage: potstill {command}")
