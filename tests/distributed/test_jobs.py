"""A run, or one job of a sweep, handed to several processes; none is started here."""

import sys
from pathlib import Path

import pytest

from potstill.cli import entry, failures, train
from potstill.distributed import launcher
from potstill.distributed.launcher import ProcessFailed
from tests.cli.test_train import command, conf, run_folder  # noqa: F401


@pytest.fixture
def started(monkeypatch):
    """Note what would be started, and give it results 0.5, 0.6, ..."""
    lines = []

    def start(line, number, cwd):
        lines.append((line, number, cwd))
        return 0.4 + len(lines) / 10

    monkeypatch.setattr(launcher, "start", start)
    return lines


def no_run(cfg):
    raise AssertionError("it ran in this process")


def test_one_process_runs_here(conf, monkeypatch, started):  # noqa: F811
    seen = []
    assert command(monkeypatch, conf, "+trainer.devices=1", run=seen.append) == 0
    assert len(seen) == 1
    assert started == []


def test_the_same_command_with_its_folder(conf, monkeypatch, started):  # noqa: F811
    argv = ["--config-name", "train", "seed=3", "+trainer.devices=2", "hydra.job.chdir=false"]
    assert command(monkeypatch, conf, *argv, run=no_run) == 0
    ((line, number, cwd),) = started
    assert (number, cwd) == (2, str(Path.cwd()))
    program = [sys.executable, str(Path("train.py").resolve())]
    assert line[:6] == [*program, "--config-path", str(conf), "--config-name", "train"]
    place = f"hydra.run.dir={run_folder().resolve()}"
    given = ["seed=3", "+trainer.devices=2", "hydra.job.chdir=false"]
    assert line[6:] == [*given, "hydra.mode=RUN", place]


def test_every_job_of_a_sweep_gets_its_own_values(conf, monkeypatch, started):  # noqa: F811
    argv = ["-m", "seed=1,2", "+trainer.devices=2", 'hydra.sweep.dir="mine\'s"']
    assert command(monkeypatch, conf, *argv, run=no_run) == 0
    jobs = [line[line.index("train") + 1 :] for line, _, _ in started]
    folder = Path.cwd() / "mine's"
    assert [sorted(job[:2]) for job in jobs] == [
        ["+trainer.devices=2", f"seed={s}"] for s in (1, 2)
    ]
    assert [job[2:] for job in jobs] == [
        ["hydra.mode=RUN", f'hydra.run.dir="{folder}/{number}"'] for number in (0, 1)
    ]


def test_the_console_command_starts_itself(conf, monkeypatch, tmp_path, started):  # noqa: F811
    """Its file is a Python script, and what follows is read as settings of a training."""
    monkeypatch.setattr(train, "conf_folder", lambda: conf)
    monkeypatch.setattr(sys, "argv", [str(tmp_path / "potstill"), "train", "+trainer.devices=2"])
    assert entry.main() == 0
    ((line, _, _),) = started
    assert line[:2] == [sys.executable, str(tmp_path / "potstill")]
    for name in ("WORLD_SIZE", "RANK"):
        monkeypatch.setenv(name, "2" if name == "WORLD_SIZE" else "1")
    seen = []
    monkeypatch.setattr(train, "_run", seen.append)
    monkeypatch.setattr(sys, "argv", line[1:])
    assert entry.main() == 0
    assert [cfg.trainer.devices for cfg in seen] == [2]


def test_a_started_process_uses_the_folder_that_is_there(conf, monkeypatch, tmp_path):  # noqa: F811
    """The line that is started can be read back, and writes no file of the starting process."""
    lines = []
    monkeypatch.setattr(launcher, "start", lambda line, *_: lines.append(line))
    assert command(monkeypatch, conf, "+trainer.devices=2", 'hydra.run.dir="it\'s one"') == 0
    before = Path("it's one/.hydra/hydra.yaml").read_text()
    (tmp_path / "talk").mkdir()
    for name, value in (("POTSTILL_LAUNCH", "talk"), ("WORLD_SIZE", "2"), ("RANK", "1")):
        monkeypatch.setenv(name, str(tmp_path / value) if value == "talk" else value)
    monkeypatch.setattr("potstill.distributed.environment.end_with_parent", lambda: None)
    seen = []
    assert command(monkeypatch, conf, *lines[0][2:], run=seen.append) == 0
    assert len(seen) == 1
    assert Path("it's one/train-1.log").exists()
    assert Path("it's one/.hydra/hydra.yaml").read_text() == before
    assert sorted(path.name for path in Path("it's one").iterdir()) == [
        ".hydra", "train-1.log", "train.log",
    ]  # fmt: skip


def test_an_error_is_printed_by_the_starting_process(conf, monkeypatch, capsys, tmp_path):  # noqa: F811
    def fails(*_):
        raise ProcessFailed("step=3: loss is nan", 4)

    monkeypatch.setattr(launcher, "start", fails)
    assert command(monkeypatch, conf, "+trainer.devices=2") == 4
    assert capsys.readouterr() == ("", "error: step=3: loss is nan\n")
    monkeypatch.setenv("POTSTILL_LAUNCH", str(tmp_path))
    assert failures.print_error("it broke", 3) == 3
    assert capsys.readouterr() == ("", "")
    assert (tmp_path / "error.json").is_file()
