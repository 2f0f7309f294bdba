"""Killed anywhere and resumed, a run ends with the bits of the run that was left alone."""

import json
import os
import subprocess
import sys

import pytest

from tests.support.places import ROOT

SCRIPT = ROOT / "benchmarks" / "faults.py"
KILLS = 20
# Two processes at a time; each imports torch and Lightning once and forks its runs.
HALVES = (
    [
        "random",
        "signals",
        "every hook",
        "full disk",
        "moving teacher, two views",
        "teacher store",
        "average, mixup, CutMix",
        "2 processes",
    ],
    [
        "writing",
        "every step",
        "accumulated gradients",
        "validation within epochs",
        "validation every 2nd epoch",
        "max_steps",
        "workers 0 and 2",
    ],
)


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory):
    folder = tmp_path_factory.mktemp("faults")
    environment = os.environ | {"OMP_NUM_THREADS": "1", "TMPDIR": str(folder)}
    started = []
    for number, names in enumerate(HALVES):
        out = folder / f"{number}.json"
        options = ["--kills", str(KILLS), "--json", str(out), "--only", *names]
        command = [sys.executable, str(SCRIPT), *options]
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
        started.append((out, subprocess.Popen(command, env=environment, **pipes)))
    found = {}
    for out, process in started:
        _, errors = process.communicate(timeout=500)
        assert process.returncode == 0, errors
        found |= json.loads(out.read_text())
    return found


@pytest.mark.parametrize("kind", [name for half in HALVES for name in half])
def test_every_run_ends_with_the_same_bits(outcomes, kind):
    found = outcomes[kind]
    assert found["runs"] > 0
    assert found["exact"] == found["runs"]
    assert (found["torn"], found["leaked"]) == (0, 0)
    assert found["exits"] == found["kills"] > 0


def test_enough_was_killed(outcomes):
    assert outcomes["random"]["kills"] == KILLS
    assert outcomes["every step"]["kills"] == 12
    assert outcomes["writing"]["kills"] >= KILLS // 4
