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


def start(names, kills, folder):
    """Start the kinds `names` of faults; return the process and the file of its outcomes."""
    out = folder / f"{names[0]}.json"
    options = ["--kills", str(kills), "--json", str(out), "--only", *names]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "TMPDIR": str(folder)}
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    return subprocess.Popen([sys.executable, str(SCRIPT), *options], env=environment, **pipes), out


def finish(process, out):
    _, errors = process.communicate(timeout=500)
    assert process.returncode == 0, errors
    return json.loads(out.read_text())


def check(found):
    assert found["runs"] > 0
    assert found["exact"] == found["runs"]
    assert (found["torn"], found["leaked"]) == (0, 0)
    assert found["exits"] == found["kills"] > 0


def test_a_run_killed_twice_ends_with_the_same_bits(tmp_path):
    found = finish(*start(["random"], 2, tmp_path))["random"]
    check(found)
    assert found["kills"] == 2


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory):
    folder = tmp_path_factory.mktemp("faults")
    started = [start(names, KILLS, folder) for names in HALVES]
    return {kind: found for one in started for kind, found in finish(*one).items()}


@pytest.mark.slow
@pytest.mark.parametrize("kind", [name for half in HALVES for name in half])
def test_every_run_ends_with_the_same_bits(outcomes, kind):
    check(outcomes[kind])


@pytest.mark.slow
def test_a_run_of_two_processes_whose_parent_died_ends_with_the_same_bits(tmp_path):
    """`benchmarks/faults.py` has more of whole runs: a rank that dies, and a disk that fills."""
    check(finish(*start(["the parent dies"], 2, tmp_path))["the parent dies"])


@pytest.mark.slow
def test_enough_was_killed(outcomes):
    assert outcomes["random"]["kills"] == KILLS
    assert outcomes["every step"]["kills"] == 12
    assert outcomes["writing"]["kills"] >= KILLS // 4
