"""The command: its numbers against the network's own on the same images, and its errors."""

import json
import re
import subprocess
import sys

import numpy as np
import pytest
import torch
from torchmetrics.functional.classification import multiclass_calibration_error

from potstill.benchmark import evaluate, measure_files
from potstill.benchmark.command import main
from tests.support.measured_files import OVERRIDES
from tests.support.places import CONF

SETS = [part for line in OVERRIDES for part in ("--set", line)]
DATA = ["--config-dir", str(CONF), "--data", "fake", *SETS]


@pytest.fixture
def measured(files, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(measure_files, "peak_bytes", lambda *_: None)  # a process for each file

    def run(*arguments):
        out = tmp_path / "found.json"
        short = ["--rounds", "3", "--threads", "1", "--batch", "1,16", "--json", str(out)]
        code = main([*map(str, arguments), *short])
        printed, err = capsys.readouterr()
        assert code == 0, err
        return json.loads(out.read_text()), printed

    return run


def logits(files, name):
    photos = files.data._splits["test"]
    images = (photos.images.numpy().astype(np.float32) / 255 - 0.5) / 0.25
    with torch.no_grad():
        return files.networks[name](torch.from_numpy(images)), photos.targets


def test_every_file_is_tested_in_its_own_engine(files, measured):
    paths = [files.paths[kind] for kind in ("student", "onnx", "pte", "pt2")]
    found, printed = measured(*paths, *DATA, "--teacher", files.paths["teacher"])
    ours, targets = logits(files, "student")
    theirs, _ = logits(files, "teacher")
    accuracy = (ours.argmax(1) == targets).double().mean().item()
    agreement = (ours.argmax(1) == theirs.argmax(1)).double().mean().item()
    ece = multiclass_calibration_error(ours.softmax(1), targets, num_classes=5, n_bins=15)
    assert 0.3 < accuracy < 0.95  # of five classes: neither guessed nor perfect
    assert accuracy != agreement
    engines = ["eager", "onnxruntime", "executorch", "torch.export"]
    assert [row["engine"] for row in found["rows"]] == engines
    for row, path in zip(found["rows"], paths, strict=True):
        assert (row["name"], row["size_bytes"]) == (path.name, path.stat().st_size)
        assert row["accuracy"] == pytest.approx(accuracy)
        assert row["agreement"] == pytest.approx(agreement)
        assert row["ece"] == pytest.approx(ece.item(), abs=1e-4)
    assert f"{100 * accuracy:.2f} %" in printed
    assert found["machine"]["features"] is None or found["machine"]["features"] in printed


def test_what_was_not_measured_is_blank(files, measured):
    found, printed = measured(files.paths["onnx"], files.paths["pte"])
    for row in found["rows"]:
        blank = {key for key, value in row.items() if value is None}
        assert blank == {
            *("num_parameters", "num_nonzeros", "macs", "memory_bytes"),
            *("accuracy", "ece", "agreement", "robust_accuracy", "corrupted"),
        }
    assert "accuracy" not in printed
    # Rounds of too few calls for a percentile; and 16 images are more than the .pte takes.
    kinds = [[(time["batch"], time["p95_ms"]) for time in r["latency"]] for r in found["rows"]]
    assert kinds == [[(1, None), (16, None)], [(1, None)]]


def test_integers_have_no_time_in_pytorch(files, measured):
    engines = ["--engines", "eager,onnxruntime"]
    found, printed = measured(files.paths["int8"], *engines, *DATA)
    eager, onnx = found["rows"]
    assert (eager["engine"], onnx["engine"]) == ("eager", "onnxruntime")
    assert eager["latency"] == []
    assert [time["batch"] for time in onnx["latency"]] == [1, 16]
    assert eager["num_parameters"] == onnx["num_parameters"]
    assert eager["macs"] == onnx["macs"]
    assert "int8.safetensors in onnxruntime" in re.sub(r"\s+", " ", printed)
    ours, targets = logits(files, "int8")
    assert eager["accuracy"] == pytest.approx((ours.argmax(1) == targets).double().mean().item())


def test_noise_is_marked(files, measured, monkeypatch):
    monkeypatch.setattr("potstill.measure.latency.NOISY", 0.5)
    found, printed = measured(files.paths["onnx"])
    assert all(time["noisy"] for time in found["rows"][0]["latency"])
    assert printed.count("noisy") == 2


def test_corrupted_images_are_those_of_the_test_set(files, measured, monkeypatch):
    """With corruptions that a test can do itself: one keeps images, one turns them black."""
    monkeypatch.setattr(evaluate, "TYPES", ("none", "black"))
    monkeypatch.setattr(
        "potstill.benchmark.corruptions.corrupt",
        lambda photos, name, ids, severity: photos * (name == "none"),
    )
    found, printed = measured(files.paths["onnx"], *DATA, "--robust")
    [row] = found["rows"]
    _, targets = logits(files, "student")
    with torch.no_grad():
        said = files.networks["student"](torch.full((1, 3, 32, 32), -2.0)).argmax(1)
    black = (targets == said).double().mean().item()
    assert row["corrupted"] == pytest.approx({"none": row["accuracy"], "black": black})
    assert row["robust_accuracy"] == pytest.approx((row["accuracy"] + black) / 2)
    assert found["severity"] == 3
    assert "black" in printed


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        ([], 2, "the following arguments are required: FILE. Fix: potstill measure"),
        (["gone.onnx"], 3, "gone.onnx: no such file. Fix: "),
        (["FILE", "--rounds", "2"], 2, "--rounds=2: too few. Fix: 3 or more"),
        (["FILE", "--rounds", "many"], 2, "argument --rounds: invalid int value: 'many'. Fix: "),
        (["FILE", "--batch", "1,0"], 2, "argument --batch: '0' is no count from 1. Fix: "),
        (["FILE", "--threads", "some"], 2, "argument --threads: 'some' is no count from 1"),
        (["ARTIFACT", "--engines", "tflite"], 2, "argument --engines: 'tflite' is none of eager, "),
        (["FILE", "--engines", "eager"], 2, "--engines: no file is an artifact"),
        (["FILE", "--robust"], 2, "--robust: has no effect without test images. Fix: --data"),
        (["FILE", "--teacher", "FILE"], 2, "--teacher: has no effect without test images"),
        (["FILE", *DATA, "--severity", "4"], 2, "--severity=4: nothing is corrupted. Fix: --rob"),
        (["FILE", "--data", "fake", "--config-dir", "x"], 2, "--config-dir=x: holds no data opt"),
        (["FILE", *DATA, "--set", "seed=1"], 2, "--set=seed=1: sets nothing of the data. Fix: "),
        (["FILE", *DATA, "--data", "faek"], 2, "data=faek: "),
        (["FILE", *DATA, "--set", "data.noize=1"], 2, "data.noize"),
        (["FILE", *DATA, "--set", "data.mean=[0.1,0.1,0.1]"], 2, "FILE: was made for mean=[0.5"),
        (["FILE", *DATA, "--set", "data.num_classes=9"], 2, "FILE: was made for num_classes=5,"),
        (["FILE", *DATA, "--set", "data.image_size=16"], 2, "FILE: was made for image_size=32,"),
    ],
)
def test_a_mistake_is_one_line(files, arguments, code, message, capsys):
    path = str(files.paths["onnx"])
    given = {"FILE": path, "ARTIFACT": str(files.paths["student"])}
    assert main([given.get(part, part) for part in arguments]) == code
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith(f"error: {message.replace('FILE', path, message.startswith('FILE'))}")
    assert err.count("\n") == 1


def test_help_comes_without_torch():
    code = "import sys; from potstill.benchmark.command import main\n"
    code += "try: main(['--help'])\nexcept SystemExit: sys.exit('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0
    assert "not to be compared with published CIFAR-10-C numbers" in done.stdout
