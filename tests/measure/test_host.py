"""The machine's name and features against what the system and torch say in other places."""

import platform
from pathlib import Path

import pytest
import torch

from potstill.measure import host as place
from potstill.measure.host import FEATURES, cpu_features, machine


def test_machine_names_the_processor_and_the_threads_in_use():
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        found = machine()
    finally:
        torch.set_num_threads(threads)
    assert found["threads"] == 1
    assert found["torch"] == torch.__version__
    assert found["cpu"] is None or found["cpu"].strip()


def test_features_are_those_the_kernel_lists():
    file = Path("/proc/cpuinfo")
    if not file.is_file() or platform.machine() != "x86_64":
        pytest.skip("the names compared with are those of Linux on x86")
    flags = next(line for line in file.read_text().splitlines() if line.startswith("flags")).split()
    theirs = {"fma3": "fma", "avx512_f": "avx512f"}
    listed = [name for name in FEATURES if theirs.get(name, name) in flags]
    assert list(cpu_features()) == listed
    assert machine()["features"] == (" ".join(listed) or None)


def test_features_of_an_arm_processor(monkeypatch):
    known = {"architecture": "aarch64", "neon": True, "dot": True, "i8mm": False, "avx2": False}
    monkeypatch.setattr(place.torch.cpu, "get_capabilities", lambda: known)
    assert cpu_features() == ("neon", "dot")
