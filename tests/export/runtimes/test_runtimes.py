"""Files are run whatever their images' memory layout, and refused in one line when damaged."""

import logging
import os
import sys
import warnings

import numpy as np
import pytest
import torch
from torch import nn

from potstill.errors import ConfigError, DataError
from potstill.export.runtimes.base import as_images
from potstill.export.runtimes.eager import Eager, TorchExport
from potstill.export.runtimes.executorch import ExecuTorch
from potstill.export.runtimes.onnxruntime import OnnxRuntime
from potstill.libraries import native_stderr, need, quiet_libraries

RUNTIMES = {"executorch": ExecuTorch, "onnxruntime": OnnxRuntime, "torch": TorchExport}


@pytest.fixture(params=RUNTIMES)
def runtime(request):
    pytest.importorskip(request.param)
    return RUNTIMES[request.param]


def test_a_missing_file(runtime, tmp_path):
    with pytest.raises(DataError, match=r"net\.pt2: no such file\. Fix: "):
        runtime(tmp_path / "net.pt2")


def test_a_damaged_file(runtime, tmp_path, capfd):
    path = tmp_path / "net.pt2"
    path.write_bytes(b"not a network" * 100)
    with pytest.raises(DataError, match=r"net\.pt2: .* Fix: export it again") as caught:
        runtime(path)
    assert "\n" not in str(caught.value)
    assert capfd.readouterr().err == ""


def test_eager_keeps_mode_and_threads():
    network = nn.Sequential(nn.Flatten(), nn.Dropout(0.5), nn.Linear(12, 2)).train()
    images = torch.randn(70, 3, 2, 2)
    threads = torch.get_num_threads()
    logits = Eager(network, threads=2)(images)
    assert network[1].training
    assert torch.get_num_threads() == threads
    torch.testing.assert_close(logits, network[2](images.flatten(1)).detach())


@pytest.mark.parametrize("images", [np.zeros((2, 3, 4, 4), np.float64), torch.zeros(2, 3, 4, 4)])
def test_as_images(images):
    assert as_images(images).shape == (2, 3, 4, 4)
    assert as_images(images).dtype == torch.float32
    last = torch.zeros(2, 3, 4, 4).to(memory_format=torch.channels_last)
    assert as_images(last).is_contiguous()


def test_need_says_which_extra():
    with pytest.raises(ConfigError, match=r"export=x: needs missing_one.*'potstill\[export\]'"):
        need("missing_one.part", "export=x")


def test_native_stderr_catches_what_no_logger_sees(capfd):
    with native_stderr() as captured:
        os.write(2, b"[cpuinfo.cpp] hm\nit broke\nmore\n")
        print("python's", file=sys.stderr)
    os.write(2, b"after")
    assert (captured.reason, capfd.readouterr().err) == ("it broke", "after")
    assert "python's" in captured.text


def test_quiet_libraries_leaves_settings_as_they_were():
    level = logging.getLogger("torch.export").level
    with quiet_libraries():
        warnings.warn("deprecated", DeprecationWarning, stacklevel=1)
    assert logging.getLogger("torch.export").level == level
    with pytest.raises(DeprecationWarning):
        warnings.warn("deprecated", DeprecationWarning, stacklevel=1)
