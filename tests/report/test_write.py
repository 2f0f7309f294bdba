"""The files of a report: what is in them, and that they are whole or not there."""

import json
import os
import re
from functools import partial

import pytest
import torch

from potstill.errors import StorageError
from potstill.report.read import read_run
from potstill.report.row import Row
from potstill.report.write import Results, write_report
from potstill.tasks.classification import Classification
from potstill.tasks.parts import NetworkOutputs
from potstill.tasks.scoring import CLASSIFICATION

METRICS = "epoch,step,train/loss,val/loss,val/accuracy\n0,9,2.0,1.5,0.5\n1,19,1.0,0.8,0.7\n"
ROWS = [
    Row("teacher", "train", {"accuracy": 0.9}, 100, 2000, 512, 0.5),
    Row("student", "distil", {"accuracy": 0.875}, seconds=2.5),
]
TARGETS = torch.tensor([0, 0, 0, 0, 1, 1, 1, 1])
STUDENT = torch.eye(2)[torch.tensor([0, 0, 0, 1, 1, 1, 1, 1])] * 4  # one mistake


def black(positions):
    return torch.zeros(len(positions), 3, 4, 4)


def write(folder, rows=ROWS, names=("cat", "dog"), meta=None):
    folder.mkdir(exist_ok=True)
    (folder / "student.csv").write_text(METRICS)
    logits = {"teacher": torch.eye(2)[TARGETS] * 4, "student": STUDENT}
    tested = NetworkOutputs(logits, TARGETS, "student", names, images=black)
    parts = Classification().parts(tested)
    results = Results(rows, CLASSIFICATION, "student", parts)
    curves = {"student": [folder / "student.csv"]}
    return write_report(folder, results, curves, meta or {"seed": 3}, {"alpha": 0.5})


@pytest.fixture
def report(tmp_path):
    return partial(write, tmp_path / "out")


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    return write(tmp_path_factory.mktemp("record") / "out")


def read(page):
    return json.loads((page.parent / "report.json").read_text())


def test_json_holds_rows_machine_meta_and_config(written):
    record = read(written)
    assert record["rows"][0] == {
        "name": "teacher",
        "stage": "train",
        "accuracy": 0.9,
        "num_parameters": 100,
        "macs": 2000,
        "size_bytes": 512,
        "latency_ms": 0.5,
        "latency_p95_ms": None,
        "epochs": None,
        "seconds": None,
        "latency_engine": None,
    }
    assert read_run(written.parent).rows == ROWS
    assert record["meta"] == {"seed": 3}
    assert record["config"] == {"alpha": 0.5}
    assert record["machine"]["torch"] == torch.__version__


def test_json_holds_what_the_diagrams_are_made_of(written):
    record = read(written)
    assert record["class_names"] == ["cat", "dog"]
    assert record["subject"] == "student"
    assert record["confusion"] == {
        "support": [4, 4],
        "correct": [3, 4],
        "true": [0],
        "predicted": [1],
        "images": [1],
        "left_out": 0,
    }
    assert record["class_accuracy"] == {"teacher": [1.0, 1.0], "student": [0.75, 1.0]}
    assert record["curves"]["student"]["val/loss"] == [[1, 2], [1.5, 0.8]]
    bins = record["reliability"]["student"]
    assert (sum(bins["count"]), bins["accuracy"][-1]) == (8, 0.875)
    assert bins["accuracy"][0] is None


def test_the_record_reads_back(written):
    run = read_run(written.parent)
    assert run.rows == ROWS
    assert run.curves["student"]["val/loss"] == {1: 1.5, 2: 0.8}
    assert run.confusion.matrix().tolist() == [[3, 1], [0, 4]]


def test_numbers_stand_on_one_line_and_texts_are_untouched(report):
    text = "[1,\n  2]  and [3,  4]"
    page = report(meta={"note": text, "names": ["a  [1,  2]"]})
    assert read(page)["meta"] == {"note": text, "names": ["a  [1,  2]"]}
    assert "[ 3, 4 ]" in (page.parent / "report.json").read_text()


def test_json_is_json_even_with_nan_and_paths(report, tmp_path):
    rows = [Row("student", "distil", {"accuracy": float("nan")}, latency_ms=float("inf"))]
    page = report(rows, meta={"folder": tmp_path, "lr": [0.1, float("nan")]})

    def refuse(constant):
        raise AssertionError(constant)

    record = json.loads((page.parent / "report.json").read_text(), parse_constant=refuse)
    assert record["rows"][0]["accuracy"] is None
    assert record["rows"][0]["latency_ms"] is None
    assert record["meta"] == {"folder": str(tmp_path), "lr": [0.1, None]}


def test_markdown_shows_the_table_and_only_images_that_are_there(written):
    page = written
    text = (page.parent / "report.md").read_text()
    assert "| teacher | train | 90.00 % | 100 | 2.00 k | 512 B | 0.50 ms | - |" in text
    assert "- seed: 3" in text
    images = {path.name for path in page.parent.glob("*.png")}
    assert images == {"curves.png", "confusion.png", "reliability.png"}
    assert set(re.findall(r"!\[.*\]\((.*)\)", text)) == images
    assert all((page.parent / name).read_bytes()[:4] == b"\x89PNG" for name in images)


def test_the_page_is_written_last_and_returned(written):
    page = written
    assert page.name == "report.html"
    assert "student: 87.50 %" in page.read_text()


def test_a_report_again_replaces_the_first_and_leaves_no_scraps(report):
    before = sorted(path.name for path in report().parent.iterdir())
    page = report(rows=ROWS[:1])
    assert len(read(page)["rows"]) == 1
    assert sorted(path.name for path in page.parent.iterdir()) == before


def test_a_write_that_fails_keeps_the_earlier_report(report, monkeypatch):
    page = report()
    before = page.read_text()

    def full(source, target):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(StorageError, match=r"No space left.*Fix"):
        report(rows=ROWS[:1])
    assert page.read_text() == before
    assert len(read(page)["rows"]) == 2
    assert not list(page.parent.glob(".*"))


def test_names_that_do_not_fit_the_confusion_are_refused(report):
    with pytest.raises(ValueError, match="3 names for 2 classes"):
        report(names=("cat", "dog", "owl"))
