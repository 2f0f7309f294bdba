"""Reading a run back: what was written, what is missing, what is damaged."""

import json

import pytest

from potstill.errors import DataError
from potstill.integrity.sealed import read_sealed, write_sealed
from potstill.measure.confusion import of_matrix
from potstill.report.read import find_runs, labels, read_run, runs_in
from potstill.tasks.scoring import CLASSIFICATION
from tests.support.sample_runs import ROWS, write_exports, write_json


def test_a_run_reads_back_as_it_was_written(tmp_path):
    run = read_run(write_json(tmp_path / "run", name="digits"))
    assert run.rows == list(ROWS)
    assert (run.title, run.subject, run.confusion) == (
        "digits",
        "int8-qat",
        of_matrix([[3, 1], [0, 4]]),
    )
    assert run.row("pruned") == ROWS[3]
    assert run.row("other") is None


def test_curves_have_numbers_for_epochs(tmp_path):
    folder = write_json(tmp_path / "run")
    record = read_sealed(folder / "report.json")
    record["curves"] = {"student": {"val/loss": [[1, 3], [2.0, 1.5]]}}
    write_sealed(folder / "report.json", record)
    assert read_run(folder).curves == {"student": {"val/loss": {1: 2.0, 3: 1.5}}}


def test_a_report_of_another_version_is_read_as_far_as_it_goes(tmp_path):
    old = {"rows": [{"name": "student", "stage": "train", "accuracy": 0.5, "later": 1}], "more": 1}
    (tmp_path / "report.json").write_text(json.dumps(old))
    run = read_run(tmp_path)
    assert (run.rows[0].score("accuracy"), run.rows[0].latency_engine) == (0.5, None)
    assert (run.subject, run.title, run.curves) == ("student", tmp_path.name, {})
    assert (run.scoring, run.charts) == (CLASSIFICATION, [])
    (tmp_path / "report.json").write_text(json.dumps({**old, "examples": [{"picture": "data:"}]}))
    assert read_run(tmp_path).examples[0]["image"] == "data:"


def test_exported_files_are_read_beside_the_report(tmp_path):
    folder = write_json(tmp_path / "run")
    assert read_run(folder).exports == []
    files = write_exports(folder)
    assert read_run(folder).exports == files
    (folder / "export" / "exports.json").write_text("{")
    with pytest.raises(DataError, match=r"exports\.json: damaged"):
        read_run(folder)


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "{}", '{"rows": []}', '{"rows": [{}]}', '{"rows": 3}', "\x00"]
)
def test_a_damaged_report_is_one_line(tmp_path, text):
    (tmp_path / "report.json").write_text(text)
    with pytest.raises(DataError, match=r"report\.json: (is not a report|damaged) .*Fix: "):
        read_run(tmp_path)


def test_runs_are_found_directly_or_one_below_and_once(tmp_path):
    sweep = [write_json(tmp_path / "sweep" / name) for name in ("10", "2", "x")]
    assert [path.name for path in runs_in(tmp_path / "sweep")] == ["2", "10", "x"]
    found = find_runs([sweep[0], tmp_path / "sweep"])
    assert [path.name for path in found] == ["10", "2", "x"]


@pytest.mark.parametrize(("name", "what"), [("", "no finished run"), ("no", "no such folder")])
def test_a_folder_without_a_run_is_refused(tmp_path, name, what):
    with pytest.raises(DataError, match=f"{what}. Fix: "):
        find_runs([tmp_path / name])


def test_labels_are_as_short_as_they_can_be(tmp_path):
    assert labels([tmp_path / "a" / "0", tmp_path / "a" / "1"]) == ["0", "1"]
    assert labels([tmp_path / "a" / "0", tmp_path / "b" / "0"]) == ["a/0", "b/0"]
