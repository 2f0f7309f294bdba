"""Runs side by side: what compares, what does not and why."""

from dataclasses import asdict

import pytest

from potstill.errors import DataError
from potstill.integrity.sealed import read_sealed, write_sealed
from potstill.report.compare import by_data, incomparable, members_of, write_comparison
from potstill.tasks.scoring import Score, Scoring
from tests.support.html_read import Page
from tests.support.sample_runs import ROWS, write_json

CIFAR = {
    "dataset": "CIFAR10",
    "num_test": 10000,
    "data": "CIFAR10, test split, 10000 images",
    "data_fingerprint": "b" * 64,
}


@pytest.fixture
def folders(tmp_path):
    return [
        write_json(tmp_path / "cifar", ROWS[:3], **CIFAR),
        write_json(tmp_path / "one", ROWS),
        write_json(tmp_path / "two", ROWS[:3]),
    ]


def apart(*folders):
    return incomparable(by_data(members_of(folders)))


def test_rows_of_other_data_are_named_with_the_reason(folders):
    found = apart(*folders)
    assert [(row.label, row.name) for row in found] == [
        ("cifar", name) for name in ("teacher", "baseline", "student")
    ]
    assert {row.why for row in found} == {"other data: CIFAR10, not Digits"}


@pytest.mark.parametrize(
    ("facts", "why"),
    [
        ({"num_test": 100}, "other test split: 100, not 360"),
        ({"image_size": 16}, "other image size: 16, not 32"),
        ({"class_names": ["dog", "cat"]}, "other classes"),
        ({}, "other images, split or normalisation: fingerprint cccccccc, not aaaaaaaa"),
    ],
)
def test_why_two_runs_do_not_compare(tmp_path, facts, why):
    one = write_json(tmp_path / "one", image_size=32)
    other = write_json(
        tmp_path / "other", **{"image_size": 32, "data_fingerprint": "c" * 64, **facts}
    )
    assert {row.why.startswith(why) for row in apart(one, other)} == {True}


def test_runs_of_another_task_do_not_compare_though_their_images_do(tmp_path):
    one, other = write_json(tmp_path / "one"), write_json(tmp_path / "other")
    record = read_sealed(other / "report.json")
    record["scoring"] = asdict(Scoring("share", (Score("rmse", "RMSE", mode="min"),)))
    for number, row in enumerate(record["rows"]):
        row["rmse"] = number / 8
    write_sealed(other / "report.json", record)
    assert {row.why for row in apart(one, other)} == {"another task: share, not classification"}
    page = Page(write_comparison([one, other], tmp_path / "both.html").read_text())
    tables = [t for t in page.tables if "the same run's student" in t["caption"]]
    assert [t["caption"].partition(" on ")[0] for t in tables] == ["Accuracy", "RMSE"]
    chosen = [row for table in page.tables for row in table["rows"] if "best by RMSE" in row[0][2]]
    assert [cell[2] for cell in chosen[0][1:3]] == ["other/baseline", "0.125"]  # less is better


def test_reports_that_lack_facts_are_told_apart_by_their_sentence(tmp_path):
    facts = {"dataset": None, "num_test": None, "data_fingerprint": None}
    one = write_json(tmp_path / "one", **facts)
    same = write_json(tmp_path / "same", **facts)
    other = write_json(tmp_path / "other", **{**facts, "data": "FakeData, test split"})
    assert [row.label for row in apart(one, same, other)] == ["other"] * len(ROWS)


def test_the_page_groups_them(folders, tmp_path):
    page = Page(write_comparison(folders, tmp_path / "report.html").read_text())
    assert "3 runs compared; 3 rows cannot be compared with the rest" in page.text
    tables = [t for t in page.tables if "the same run's student" in t["caption"]]
    assert [len(table["rows"]) for table in tables] == [1 + 6 + 3, 1 + 3]
    why = page.table("why")
    assert why[1] == ["cifar", "teacher", "other data: CIFAR10, not Digits"]
    fronts = [a["aria-label"] for tag, a in page.tags if tag == "svg" and "role" in a]
    assert len(fronts) == 4
    assert not [front for front in fronts if "cifar/" in front and "one/" in front]


def test_points_are_against_the_runs_own_student(folders, tmp_path):
    rows = Page(write_comparison(folders, tmp_path / "report.html").read_text()).tables[0]["rows"]
    student = [[cell[2] for cell in row] for row in rows if "student" in [c[2] for c in row]]
    pruned = next(row for row in rows if "pruned" in [c[2] for c in row])
    assert student[0][3] == "-"
    assert [cell[2] for cell in pruned][3] == "\u22120.28"


def test_run_names_span_their_rows(folders, tmp_path):
    page = Page(write_comparison(folders, tmp_path / "report.html").read_text())
    heads = [c for row in page.tables[0]["rows"] for c in row if c[1].get("scope") == "rowgroup"]
    assert [(c[2], c[1]["rowspan"]) for c in heads] == [("one", "6"), ("two", "3")]


def test_times_of_two_machines_are_not_compared(tmp_path):

    folders = [write_json(tmp_path / name) for name in ("one", "two")]
    path = folders[1] / "report.json"
    record = read_sealed(path)
    record["machine"]["cpu"] = "Pi"
    write_sealed(path, record)
    page = Page(write_comparison(folders, tmp_path / "report.html").read_text())
    assert "Latencies were measured in more than one way (eager on EPYC; eager on Pi)" in page.text
    assert "Not shown, for want of such a measurement: one/int8-ptq" in page.text
    choices = page.table("the teacher is no candidate")
    assert [row[0] for row in choices[3:]] == ["fastest in eager on EPYC", "fastest in eager on Pi"]


def test_every_folder_must_hold_a_run(folders, tmp_path):
    with pytest.raises(DataError, match="no finished run"):
        write_comparison([*folders, tmp_path], tmp_path / "report.html")
