"""Processes that are started, watched and ended together; none of them needs torch."""

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from potstill.distributed import environment, launcher
from potstill.errors import ConfigError

WORLD = 2


@pytest.fixture(autouse=True)
def alone(monkeypatch, tmp_path):
    for name in ("RANK", "WORLD_SIZE", "SLURM_PROCID", "SLURM_NTASKS", environment.FOLDER):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(launcher, "GRACE", 0.3)


def start(script, number=WORLD):
    """Start a script in which `rank` is known."""
    head = (
        "import json, os, signal, sys, time; from pathlib import Path\n"
        "from potstill.distributed import environment; rank = environment.rank()\n"
    )
    return launcher.start([sys.executable, "-c", head + script], number)


def failure(script):
    with pytest.raises(launcher.ProcessFailed) as caught:
        start(script)
    return str(caught.value), caught.value.exit_code


def is_alive(pid):
    """Tell whether a process runs; one that nobody has waited for yet does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def gone(pids, seconds=5.0):
    end = time.monotonic() + seconds
    while time.monotonic() < end and any(map(is_alive, pids)):
        time.sleep(0.05)
    return not any(map(is_alive, pids))


def when(condition, do):
    """Do something as soon as a condition holds."""

    def wait():
        end = time.monotonic() + 20
        while time.monotonic() < end and not condition():
            time.sleep(0.02)
        do()

    threading.Thread(target=wait, daemon=True).start()


@pytest.mark.parametrize(
    ("trainer", "number"),
    [
        ({}, 1),
        ({"devices": 1}, 1),
        ({"devices": 2}, 2),
        ({"devices": "3"}, 3),
        ({"devices": [0, 2]}, 2),
        ({"devices": "0,2,3"}, 3),
        ({"devices": "1,"}, 1),
        ({"devices": "auto", "accelerator": "cpu"}, 1),
        ({"devices": -1, "accelerator": "cpu"}, 1),
        ({"devices": "two"}, 1),
    ],
)
def test_how_many_processes(trainer, number):
    cpu_unless = {"accelerator": "cpu"} if "devices" not in trainer else {}
    assert launcher.count(trainer | cpu_unless) == number


def test_all_gpus(monkeypatch):
    monkeypatch.setattr("torch.cuda.device_count", lambda: 4)
    assert launcher.count({"devices": "auto"}) == 4
    assert launcher.count({"devices": -1, "accelerator": "gpu"}) == 4
    assert launcher.count({"accelerator": "cpu"}) == 1


def test_several_machines_need_a_launcher_that_knows_them():
    with pytest.raises(ConfigError, match=r"num_nodes=2: this is one machine\. Fix: .*torchrun"):
        launcher.count({"devices": 2, "num_nodes": 2})


def test_every_process_knows_its_place_and_the_first_gives_the_result(monkeypatch):
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    found = start(
        "Path(f'rank-{rank}').write_text(os.environ['LOCAL_RANK'] + os.environ['WORLD_SIZE'])\n"
        "names = ['MASTER_ADDR', 'OMP_NUM_THREADS', 'TORCHELASTIC_RUN_ID']\n"
        "environment.leave_result([rank, environment.world(), *map(os.environ.get, names)])"
    )
    rank, world, address, threads, run_id = found
    assert (rank, world, address) == (0, WORLD, "127.0.0.1")
    assert int(threads) == max(os.cpu_count() // WORLD, 1)
    assert run_id
    assert [Path(f"rank-{r}").read_text() for r in range(WORLD)] == ["02", "12"]
    assert start("pass") is None


def test_the_first_error_counts_and_the_others_are_ended():
    began = time.monotonic()
    line, code = failure(
        "Path(f'pid-{rank}').write_text(str(os.getpid()))\n"
        "if rank == 0: time.sleep(60)\n"
        "while not Path('pid-0').exists(): time.sleep(0.02)\n"
        "environment.leave_error('step=3: loss is nan', 4)\n"
        "sys.exit(4)"
    )
    assert (line, code) == ("step=3: loss is nan", 4)
    assert time.monotonic() - began < 10
    assert gone([int(Path(f"pid-{rank}").read_text()) for rank in range(WORLD)])


def test_what_follows_from_an_error_is_not_told():
    line, code = failure(
        "error = Path(os.environ[environment.FOLDER]) / 'error.json'\n"
        "if rank == 0:\n"
        "    while not error.exists(): time.sleep(0.01)\n"
        "    environment.leave_error('connection closed by peer', 1); sys.exit(1)\n"
        "environment.leave_error('x.ckpt: damaged', 3)\n"
        "time.sleep(0.2)\n"  # the other ends before it
        "sys.exit(3)"
    )
    assert (line, code) == ("x.ckpt: damaged", 3)


def test_an_error_counts_before_its_process_has_ended():
    line, code = failure("environment.leave_error('lost', 3) if rank else None\ntime.sleep(60)")
    assert (line, code) == ("lost", 3)


def test_a_killed_process_is_the_cause_whatever_the_others_say():
    line, code = failure(
        "if rank == 1: os.kill(os.getpid(), signal.SIGKILL)\n"
        "environment.leave_error('connection closed by peer', 1); sys.exit(1)"
    )
    assert line.startswith("process 1 of 2 was killed by SIGKILL, perhaps for want of memory. Fix:")
    assert code == 137


def test_a_process_that_says_nothing():
    assert failure("sys.exit(7 * rank)") == ("process 1 of 2 ended with exit code 7", 7)


HANDLED = (
    "got = []\n"
    "signal.signal(signal.{name}, lambda number, frame: got.append(number))\n"
    "Path(f'ready-{{rank}}').touch()\n"
    "while not got: time.sleep(0.02)\n"
    "time.sleep(0.5)\n"  # longer than the grace after a failure
    "Path(f'got-{{rank}}').write_text(str(len(got)))\n"
    "environment.leave_error('interrupted at step 3, saved', 128 + got[0])\n"
    "sys.exit(128 + got[0])"
)


def all_ready():
    return all(Path(f"ready-{rank}").exists() for rank in range(WORLD))


@pytest.mark.parametrize("name", ["SIGTERM", "SIGINT", "SIGUSR1"])
def test_a_signal_reaches_every_process_once_and_there_is_time_to_save(name):
    number = signal.Signals[name]
    before = signal.getsignal(number)
    when(all_ready, lambda: os.kill(os.getpid(), number))
    line, code = failure(HANDLED.format(name=name))
    assert (line, code) == ("interrupted at step 3, saved", 128 + number)
    assert [Path(f"got-{rank}").read_text() for rank in range(WORLD)] == ["1", "1"]
    assert signal.getsignal(number) == before


def test_a_signal_that_nobody_handles():
    when(all_ready, lambda: os.kill(os.getpid(), signal.SIGTERM))
    assert failure("Path(f'ready-{rank}').touch(); time.sleep(60)") == ("interrupted", 143)


def test_data_workers_go_with_their_process():
    failure(
        "import subprocess\n"
        "if rank == 1:\n"
        "    while not Path('ready-0').exists(): time.sleep(0.02)\n"
        "    sys.exit(1)\n"
        "worker = subprocess.Popen(['sleep', '60'])\n"
        "Path('worker').write_text(str(worker.pid)); Path('ready-0').touch(); time.sleep(60)"
    )
    assert gone([int(Path("worker").read_text())])


def test_processes_do_not_outlive_the_one_that_started_them(tmp_path):
    script = (
        "import os, time; from pathlib import Path; from potstill.distributed import environment\n"
        "environment.end_with_parent(); rank = environment.rank()\n"
        "Path(f'part-{rank}').write_text(str(os.getpid()))\n"
        "Path(f'part-{rank}').rename(f'ready-{rank}'); time.sleep(60)"
    )
    parent = subprocess.Popen(
        [
            sys.executable,
            "-c",
            "import sys; from potstill.distributed import launcher\n"
            f"launcher.start([sys.executable, '-c', {script!r}], {WORLD})",
        ],
        cwd=tmp_path,
    )
    with contextlib.ExitStack() as stack:
        stack.callback(parent.wait)
        stack.callback(parent.kill)
        end = time.monotonic() + 20
        while not all_ready() and time.monotonic() < end:
            time.sleep(0.05)
    pids = [int(Path(f"ready-{rank}").read_text()) for rank in range(WORLD)]
    assert gone(pids)


def test_what_a_started_process_adds_to_its_command(monkeypatch):
    assert environment.overrides(["a=1"], False) == environment.overrides([], True) == []
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("RANK", "0")
    given = ["hydra.run.dir=mine", "a=1"]
    assert environment.overrides(given, False) == []
    with pytest.raises(ConfigError, match="each of 2 processes would make its own"):
        environment.overrides(["a=1"], False)
    with pytest.raises(ConfigError, match="each of 2 processes would sweep by itself"):
        environment.overrides(given, True)
    monkeypatch.setenv(environment.FOLDER, "x")
    assert environment.overrides(given, False) == ["hydra.output_subdir=null"]
    monkeypatch.setenv("RANK", "1")
    joined = ["hydra.job.name=train-1", "hydra.output_subdir=null"]
    assert environment.overrides(given, False) == joined


def test_slurm_counts_as_well(monkeypatch):
    monkeypatch.setenv("SLURM_NTASKS", "4")
    monkeypatch.setenv("SLURM_PROCID", "3")
    assert (environment.rank(), environment.world()) == (3, 4)


def test_a_process_that_no_signal_reaches_does_not_outlive_its_parent(tmp_path):
    """As one that waits in a collective call; with it go its data workers."""
    script = (
        "import os, signal, subprocess, time; from pathlib import Path\n"
        "from potstill.distributed import environment\n"
        "signal.signal(signal.SIGTERM, signal.SIG_IGN); environment.ORPHANED = 0.2\n"
        "environment.end_with_parent(); worker = subprocess.Popen(['sleep', '60'])\n"
        "Path('part').write_text(f'{os.getpid()} {worker.pid}')\n"
        "Path('part').rename('ready'); time.sleep(60)"
    )
    code = (
        "import sys; from potstill.distributed import launcher\n"
        f"launcher.start([sys.executable, '-c', {script!r}], 1)"
    )
    parent = subprocess.Popen([sys.executable, "-c", code], cwd=tmp_path)
    with contextlib.ExitStack() as stack:
        stack.callback(parent.wait)
        stack.callback(parent.kill)
        end = time.monotonic() + 20
        while not Path("ready").exists() and time.monotonic() < end:
            time.sleep(0.05)
    assert gone([int(pid) for pid in Path("ready").read_text().split()])
