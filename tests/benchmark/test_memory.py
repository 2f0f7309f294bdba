"""The peak of a process holds what a file is known to hold."""

import pytest
import torch

from potstill.artifact.file import Artifact, save_artifact
from potstill.artifact.spec import ModelSpec
from potstill.benchmark import memory
from potstill.benchmark.memory import peak_bytes
from potstill.models.tiny_cnn import tiny_cnn
from tests.support.measured_files import SHAPE

WIDE = {"_target_": "potstill.models.tiny_cnn.tiny_cnn", "num_classes": 5, "width": 600}


def test_the_peak_is_at_least_the_weights_and_not_the_libraries(tmp_path):
    if not memory.CLEAR_REFS.exists():
        pytest.skip("only Linux counts the peak")
    network = tiny_cnn(5, width=600)
    weights = sum(4 * parameter.numel() for parameter in network.parameters())
    assert weights > 50e6
    facts = {"class_names": list("abcde"), "image_shape": list(SHAPE)}
    path = save_artifact(tmp_path / "net.safetensors", network, Artifact(ModelSpec.of(WIDE), facts))
    # Built, and read: twice the weights, and what parses sources; PyTorch takes 300 MB and more.
    assert weights < peak_bytes(path, SHAPE) < 3 * weights + 80e6


def test_what_cannot_be_measured_is_blank(tmp_path):
    (tmp_path / "net.safetensors").write_bytes(b"nothing")
    assert peak_bytes(tmp_path / "net.safetensors", SHAPE) is None


def test_growth_is_the_peak_less_what_was_resident(tmp_path, monkeypatch):
    """A process by hand: 100 kB at the start, and a peak of 350."""
    status, clear = tmp_path / "status", tmp_path / "clear_refs"
    status.write_text("VmPeak:\t 999 kB\nVmHWM:\t 350 kB\nVmRSS:\t 100 kB\n")
    monkeypatch.setattr(memory, "STATUS", status)
    monkeypatch.setattr(memory, "CLEAR_REFS", clear)
    opened = type("Opened", (), {"bind": lambda self, images: lambda: None})
    monkeypatch.setattr("potstill.benchmark.open_file.open_file", lambda path: opened())
    threads = torch.get_num_threads()
    assert memory.grown(tmp_path / "net.safetensors", (1, 3, 8, 8)) == 250 * 1024
    torch.set_num_threads(threads)
    assert clear.read_text() == "5"
