"""SIGKILL in every stage, at its edges and between stages: the same files, nothing done twice."""

import hashlib
import json
import os
import signal
import time

import pytest
import torch

from tests.pipeline.test_run import ran
from tests.pipeline.test_stage_runner import RUN, STAGES

# Killed as soon as one of these is there: before, in, after and between stages.
MOMENTS = [
    "student/checkpoints/step-00000001.json",
    "student/student.safetensors",
    "pruned-1/pruned.json",
    "pruned-1/checkpoints/step-00000002.json",
    "pruned-2/pruned-2.safetensors",
    "pruned/checkpoints/step-00000001.json",
    "pruned/pruned.safetensors",
    "int8-ptq/int8-ptq.safetensors",
    "int8-qat/checkpoints/step-00000001.json",
    "int8-qat/checkpoints/step-00000002.json",
    "int8-qat/int8-qat.safetensors",
]
LIMIT = 120  # seconds
SETTINGS = [
    *[override for override in RUN if "limit_train" not in override],
    *STAGES,
    "+trainer.limit_train_batches=3",
    "callbacks.checkpoint.every_n_steps=1",
    "callbacks.checkpoint.keep=3",
    "baseline=false",
]


def start(folder, *more):
    """Run the command in a forked process, silently, and return its id."""
    if child := os.fork():
        return child
    code = 1
    try:
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, 1)
        os.dup2(null, 2)
        ran(folder, *SETTINGS, *more)
        code = 0
    finally:
        os._exit(code)


def wait(child, path=None):
    """Return the exit code, or kill the process once `path` is there and return None."""
    deadline = time.monotonic() + LIMIT
    while time.monotonic() < deadline:
        ended, status = os.waitpid(child, os.WNOHANG)
        if ended:
            return os.waitstatus_to_exitcode(status)
        if path is not None and path.exists():
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
            return None
        time.sleep(0.005)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return pytest.fail(f"no {path} after {LIMIT} s")


def artifacts(folder):
    """Return {name: sha256 of its artifact}."""
    return {
        path.stem: hashlib.sha256(path.read_bytes()).hexdigest()
        for path in folder.glob("*/*.safetensors")
    }


@pytest.mark.parametrize(
    "moments",
    [
        pytest.param([MOMENTS[3], MOMENTS[8]], id="two"),
        pytest.param(MOMENTS, id="all", marks=pytest.mark.slow),
    ],
)
def test_a_run_killed_in_every_stage_ends_as_the_one_left_alone(tmp_path, moments):
    torch.set_num_threads(1)
    alone, killed = tmp_path / "one" / "alone", tmp_path / "two" / "killed"
    alone.parent.mkdir()
    killed.parent.mkdir()
    assert wait(start(alone)) == 0
    written, kills = {}, 0
    for moment in moments:
        code = wait(start(killed, *(["resume=true"] if kills else [])), killed / moment)
        kills += code is None
        assert code in (None, 0), moment
        for path in killed.glob("*/*.safetensors"):
            time_of = path.stat().st_mtime_ns
            assert written.setdefault(path, time_of) == time_of, f"{path.name} was made again"
    assert kills >= max(len(moments) - 2, 1)  # a run may be past a moment before it is seen
    assert wait(start(killed, "resume=true")) == 0
    expected = artifacts(alone)
    assert len(expected) == 7  # teacher, student, three steps of pruning, two of integers
    assert artifacts(killed) == expected
    reports = [json.loads((folder / "report.json").read_text()) for folder in (alone, killed)]
    rows = [[(row["name"], row["accuracy"]) for row in report["rows"]] for report in reports]
    assert rows[0] == rows[1]
    assert not [path for path in killed.rglob(".*") if path.name not in (".lock", ".hydra")]
