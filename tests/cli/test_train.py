"""The command as a person meets it: one line, an exit code, and nothing left on disk."""

import errno
import io
import logging
import os
import shutil
import subprocess
import sys
import traceback
from pathlib import Path

import pytest
from hydra.core.hydra_config import HydraConfig

from potstill.cli import failures, train
from potstill.errors import ConfigError, NonFiniteError
from tests.support.places import CONF, CONF_SAMPLE


@pytest.fixture
def conf(tmp_path, monkeypatch):
    """The sample config with the real conf/hydra, run from an empty folder."""
    shutil.copytree(CONF_SAMPLE, tmp_path / "conf")
    shutil.copytree(CONF / "hydra", tmp_path / "conf" / "hydra", dirs_exist_ok=True)
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    for name in ("RANK", "WORLD_SIZE", "SLURM_PROCID", "SLURM_NTASKS", "POTSTILL_LAUNCH"):
        monkeypatch.delenv(name, raising=False)
    # Hydra's dictConfig closes every handler of the process, and the streams of other tests'.
    monkeypatch.setattr(logging, "_handlerList", [])
    yield tmp_path / "conf"
    HydraConfig.instance().cfg = None  # of the last job, which other tests would see
    for logger in (logging.getLogger(), logging.getLogger("potstill.traceback")):
        for handler in [h for h in logger.handlers if type(h) in _OURS]:
            handler.close()
            logger.removeHandler(handler)


_OURS = (logging.FileHandler, logging.StreamHandler)


def command(monkeypatch, conf, *argv, run=lambda cfg: None):
    monkeypatch.setattr(sys, "argv", ["train.py", *argv])
    monkeypatch.setattr(train, "_run", run)
    try:
        return train.main(conf)
    except SystemExit as stop:
        return stop.code


def raising(error):
    def run(cfg):
        raise error

    return run


def run_folder():
    (folder,) = Path("outputs/runs/sample").iterdir()
    return folder


def test_a_mistake_costs_no_import_of_torch_and_leaves_nothing(tmp_path):
    script = (
        "import sys; from pathlib import Path; from potstill.cli import train\n"
        f"code = train.main(Path({str(CONF_SAMPLE)!r}))\n"
        "print({'torch', 'lightning', 'numpy', 'potstill.pipeline.run'} & set(sys.modules))\n"
        "sys.exit(code)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, "temprature=3"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout) == (2, "set()\n")
    assert done.stderr.startswith("error: temprature=3: unknown key 'temprature'. Fix: temperature")
    assert done.stderr.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("argv", "code", "words"),
    [
        (["alpha=2"], 2, "alpha=2.0: must be null or a number from 0 to 1"),
        (["-m", "alpha=0.5,2"], 2, "alpha=2.0: must be"),
        (["hydra.mode=MULTIRUN", "alpha=0.5,2"], 2, "alpha=2.0: must be"),
        (["--seed=3"], 2, "unrecognized arguments: --seed=3"),
        (["--experimental-rerun=x.pickle"], 2, "would run code from a pickle"),
        (["--config-path=conf"], 2, "is relative. Fix: an absolute path"),
        (["--config-dir=missing"], 2, "does not exist"),
        (["--config-name=tran"], 2, "config has no option 'tran'. Fix: train"),
        (["resume=true"], 2, "holds no run"),
        (["hydra.run.dir=file/run"], 5, "file is a file"),
        (["-m", "seed=1,2", "hydra.sweep.dir=file/run"], 5, "file is a file"),
    ],
)
def test_mistakes_end_before_the_run(conf, monkeypatch, capsys, argv, code, words):
    Path("file").write_text("")
    assert command(monkeypatch, conf, *argv, run=raising(AssertionError("it ran"))) == code
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("error: ")
    assert words in err
    assert err.count("\n") == 1
    assert os.listdir() == ["file"]


@pytest.mark.parametrize("flags", [["--help"], ["--cfg", "job"], ["--info", "searchpath"]])
def test_flags_that_print_run_nothing(conf, monkeypatch, capsys, flags):
    run = raising(AssertionError("it ran"))
    assert command(monkeypatch, conf, *flags, run=run) in (0, None)
    assert len(capsys.readouterr().out) > 100
    assert os.listdir() == []


def test_help_shows_groups_options_and_flags(conf, monkeypatch, capsys):
    command(monkeypatch, conf, "--help")
    out = capsys.readouterr().out
    assert "data: what to learn from\n  fake                     Made-up images." in out
    assert "costs $0." in out
    assert "--multirun,-m" in out


def test_a_run_gets_its_config_and_folder(conf, monkeypatch, capsys):
    seen = []
    assert command(monkeypatch, conf, "temperature=2", run=seen.append) == 0
    assert seen[0].temperature == 2
    assert "hydra" not in seen[0]
    assert (run_folder() / ".hydra" / "config.yaml").is_file()
    assert capsys.readouterr() == ("", "")


def test_a_folder_that_holds_a_run_wants_resume(conf, monkeypatch, capsys):
    assert command(monkeypatch, conf, "hydra.run.dir=mine") == 0
    assert command(monkeypatch, conf, "hydra.run.dir=mine") == 2
    assert "hydra.run.dir=mine: holds a run already. Fix: resume=true" in capsys.readouterr().err
    assert command(monkeypatch, conf, "hydra.run.dir=mine", "resume=true") == 0
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("RANK", "1")  # joins the run that rank 0 has begun
    assert command(monkeypatch, conf, "hydra.run.dir=mine") == 0


@pytest.mark.parametrize(
    ("error", "code", "line"),
    [
        (ConfigError("a=1: no. Fix: a=2"), 2, "error: a=1: no. Fix: a=2\n"),
        (NonFiniteError("loss is nan\nat step 3"), 4, "error: loss is nan at step 3\n"),
        (KeyboardInterrupt(), 130, "error: interrupted\n"),
        (
            OSError(errno.ENOSPC, "No space left on device", "x.ckpt"),
            5,
            "error: x.ckpt: No space left on device. "
            "Fix: free space, or another folder, and resume=true\n",
        ),
    ],
)
def test_an_error_of_the_run_is_one_line_and_its_exit_code(
    conf, monkeypatch, capsys, error, code, line
):
    assert command(monkeypatch, conf, run=raising(error)) == code
    assert capsys.readouterr() == ("", line)


def test_a_log_on_a_full_disk_adds_no_line(conf, monkeypatch, capsys):
    """Or each line that the log cannot take would be an error with a traceback of its own."""

    class Full(io.StringIO):
        def write(self, text):
            raise OSError(errno.ENOSPC, "No space left on device")

    def full(cfg):
        log = logging.getLogger()
        files = [one for one in log.handlers if isinstance(one, logging.FileHandler)]
        for handler in files:
            handler.setStream(Full()).close()
        log.warning("said before it ends")
        assert files
        raise OSError(errno.EROFS, "Read-only file system", "x.ckpt")

    assert command(monkeypatch, conf, run=full) == 5
    lines = capsys.readouterr().err.splitlines()
    assert [line for line in lines if not line.startswith("[")] == [
        "error: x.ckpt: Read-only file system. Fix: free space, or another folder, and resume=true"
    ]


def test_an_unforeseen_error_has_its_traceback_in_the_log_only(conf, monkeypatch, capsys):
    assert command(monkeypatch, conf, run=raising(KeyError("lost"))) == 1
    log = run_folder() / "train.log"
    assert capsys.readouterr() == ("", f"error: KeyError: 'lost' (traceback in {log})\n")
    assert "Traceback (most recent call last)" in log.read_text()
    assert "raise error" in log.read_text()


def test_without_a_log_the_traceback_is_shown(capsys):
    task = failures.guarded(raising(KeyError("lost")))
    with pytest.raises(SystemExit) as stop:
        task(None)
    assert stop.value.code == 1
    assert "Traceback" in capsys.readouterr().err


def test_a_full_disk_is_seen_behind_another_error_and_a_chain_may_be_a_circle():
    full, other = OSError(errno.ENOSPC, "full"), RuntimeError("writer failed")
    other.__cause__ = full
    assert failures._disk_full(other) is full
    first, second = ValueError("a"), ValueError("b")
    first.__cause__, second.__cause__ = second, first
    assert failures._disk_full(first) is None


def test_the_console_gets_warnings_and_the_log_gets_all(conf, monkeypatch, capsys):
    def run(cfg):
        logging.getLogger("anyone").info("quiet")
        logging.getLogger("anyone").warning("loud")

    assert command(monkeypatch, conf, run=run) == 0
    out, err = capsys.readouterr()
    assert out == ""
    assert "loud" in err
    assert "quiet" not in err
    assert "quiet" in (run_folder() / "train.log").read_text()


def test_a_failing_job_does_not_stop_the_sweep(conf, monkeypatch, capsys):
    seen = []

    def run(cfg):
        seen.append((cfg.seed, Path.cwd()))
        if cfg.seed == 1:
            raise NonFiniteError("seed=1: loss is nan. Fix: a lower lr")
        return 0.5

    assert command(monkeypatch, conf, "-m", "seed=1,2,3", run=run) == 4
    assert [seed for seed, _ in seen] == [1, 2, 3]
    err = capsys.readouterr().err
    assert err == "error: seed=1: loss is nan. Fix: a lower lr\n"
    (sweep,) = Path("outputs/sweeps/sample").iterdir()
    assert sorted(path.name for path in sweep.iterdir()) == ["0", "1", "2", "multirun.yaml"]


def test_in_a_launchers_worker_the_error_travels_back(monkeypatch, capsys):
    codes = []
    task = failures.guarded(raising(ConfigError("a=1: no")), codes)
    monkeypatch.setattr(os, "getpid", lambda: -1)
    with pytest.raises(ConfigError) as caught:
        task(None)
    assert "a=1: no" in "".join(traceback.format_exception(caught.value))
    assert codes == []
    assert capsys.readouterr().err == "error: a=1: no\n"
