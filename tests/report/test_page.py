"""One run's page: its first line, its tables, and that it stands alone."""

import json
import re
from itertools import pairwise

import pytest

from potstill.errors import DataError
from potstill.report.page import reference_of, verdict, write_page
from potstill.report.row import Row
from potstill.tasks.scoring import CLASSIFICATION
from tests.support.html_read import Page
from tests.support.sample_runs import CLASSES, ROWS, timed, write_exports, write_json, write_run

ACCURACY = CLASSIFICATION.main

BUDGET = {"size_mb": 0.1, "latency_ms": None, "accuracy_drop": 0.5}
EVIL = "<script>alert('x')</script>"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_run(tmp_path_factory.mktemp("page") / "run", timed(), meta={"budget": BUDGET})


@pytest.fixture(scope="module")
def page(folder):
    return Page((folder / "report.html").read_text())


def test_the_first_line_says_what_came_out(page):
    assert "int8-qat: 98.60 % at 88.5 kB, 96\u00d7 smaller than the teacher" in page.text
    assert "\u22121.12 points" in page.text


def test_the_table_has_every_network(page):
    head, *rows = page.table("Accuracy on the test set")
    assert head[:7] == ["network", "stage", "accuracy", "points", "size", "smaller", "latency"]
    assert [row[0] for row in rows] == [row.name for row in ROWS]
    assert rows[3][:7] == [
        "pruned",
        "prune + distil",
        "98.61 %",
        "\u22121.11",
        "0.27 MB",
        "32\u00d7",
        "0.21 ms",
    ]
    assert rows[5][6] == "-"


def test_one_image_and_the_interval_are_told(page):
    assert "360 test images: one of them is 0.28 points" in page.text
    assert re.search(r"95 % interval of int8-qat is 96\.\d\d to 99\.\d\d %", page.text)


def test_the_confusions_are_those_of_the_record(folder, page):
    counts = json.loads((folder / "report.json").read_text())["confusion"]
    head, *rows = page.table("Test images of each true class")
    assert head[1:] == list(CLASSES)
    shown = [[int(cell or 0) for cell in row[1:]] for row in rows]
    assert [sum(row) for row in shown] == counts["support"]
    assert [row[k] for k, row in enumerate(shown)] == counts["correct"]
    pairs = zip(counts["true"], counts["predicted"], counts["images"], strict=True)
    assert all(shown[true][predicted] == images for true, predicted, images in pairs)
    worst = max(n for i, row in enumerate(shown) for j, n in enumerate(row) if i != j)
    assert page.table("taken for")[1][2] == str(worst)


def test_classes_that_lost_are_the_difference_of_accuracies(folder, page):
    record = json.loads((folder / "report.json").read_text())
    pairs = zip(*(record["class_accuracy"][n] for n in ("teacher", "int8-qat")), strict=True)
    lost = sorted(100 * (b - a) for a, b in pairs if b < a)
    table = next(t for t in page.tables if "int8-qat" in [c[2] for c in t["rows"][0]])
    shown = [float(row[3][2].replace("\u2212", "-")) for row in table["rows"][1:]]
    assert shown == pytest.approx(lost, abs=0.005)


def test_curves_and_terms_have_a_image_each_with_words(page):
    names = [a["aria-label"] for tag, a in page.tags if tag == "svg" and a.get("role") == "img"]
    told = [name.partition(". ")[0] for name in names]
    assert told[:2] == ["Accuracy against size", "Accuracy against latency"]
    assert told[2:5] == ["Loss", "Accuracy", "Terms of the training loss: student"]
    assert told[5:] == [f"Reliability of {row.name}" for row in ROWS]
    # 2.2 * 0.72^11 + 0.05, as the sample's file has it, and times its place among the terms.
    assert "student val/loss 0.1202 after epoch 12" in names[2]
    assert "student train/kd_weighted 0.255 after epoch 12" in names[4]
    assert "accuracy" not in names[4]


def test_the_budget_is_answered_last(page):
    last = page.table("the teacher is no candidate")
    assert last[-1][:2] == ["best within the budget", "int8-qat"]
    assert page.table("Agreement and KL")[1][0] == "teacher"
    assert page.tables[-1]["caption"].endswith("points less accurate than the student.")


def test_the_command_and_the_config_are_there(page):
    assert "python train.py experiment=compress_digits 'budget={size_mb: 0.1}'" in page.text
    assert "alpha: 0.5" in page.text


def test_the_page_needs_nothing_else(folder, page):
    assert (folder / "report.html").stat().st_size < 2_000_000
    assert all(a.startswith(("data:", "#")) for a in page.addresses)
    assert "url(" not in page.style
    assert "@import" not in page.style
    assert not [tag for tag, _ in page.tags if tag in ("script", "iframe", "object", "base")]
    policy = [a["content"] for tag, a in page.tags if "http-equiv" in a]
    assert policy == ["default-src 'none'; style-src 'unsafe-inline'; img-src data:"]


def test_tables_are_for_screen_readers(page):
    for table in page.tables:
        head, *rows = table["rows"]
        assert all(a.get("scope") == "col" for tag, a, _ in head if tag == "th")
        assert all(row[0][0] == "th" and row[0][1]["scope"] == "row" for row in rows)
        assert len({len(row) for row in table["rows"]}) == 1


def test_landmarks_headings_and_names(page):
    levels = [int(tag[1]) for tag, _ in page.tags if re.fullmatch(r"h\d", tag)]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(b - a <= 1 for a, b in pairwise(levels))
    assert [tag for tag, _ in page.tags].count("main") == 1
    assert dict(page.tags)["html"]["lang"] == "en"
    ids = [a["id"] for _, a in page.tags if "id" in a]
    assert len(ids) == len(set(ids))
    assert {a[1:] for a in page.addresses if a.startswith("#")} <= set(ids)
    assert all(a.get("alt") for tag, a in page.tags if tag == "img")


def test_both_themes_name_every_colour(page):
    light, dark = (set(re.findall(r"--[\w-]+(?=:)", t)) for t in page.style.split("@media", 2)[:2])
    used = set(re.findall(r"var\((--[\w-]+)", page.style)) - {"--share"}
    assert light == dark
    assert used <= light


def test_the_page_again_from_the_record_alone(folder):
    path = folder / "report.html"
    before = path.read_text()
    path.unlink()
    for image in (*folder.glob("*.png"), *folder.glob("*.csv")):
        image.rename(image.with_suffix(".gone"))
    assert write_page(folder) == path
    plain = [re.sub(r"g\d+-", "", text) for text in (before, path.read_text())]
    assert plain[0] == plain[1]


def test_files_are_told_with_what_they_did_in_their_runtime(tmp_path):
    folder = write_json(tmp_path / "run")
    assert "Files to deploy" not in write_page(folder).read_text()
    write_exports(folder)
    page = Page(write_page(folder).read_text())
    _, written, refused = page.table("run in its own runtime")
    assert written == [
        "export/int8-qat.onnx",
        "88.1 kB",
        "98.61 %",
        "98.60 %",
        "100.00 %",
        "51 dB",
        "onnxruntime 1.31",
    ]
    assert refused == ["int8-ptq, coreml", "refused: <no> coreml"]


def test_names_are_text(tmp_path):
    rows = [
        Row(EVIL, EVIL, {"accuracy": 0.5}, 1, 1, 10, 1.0),
        Row("b&b", "s", {"accuracy": 0.6}, 1, 1, 20, 1.0),
    ]
    folder = write_json(tmp_path / "run", rows, class_names=(EVIL, "dog"), command=EVIL, name=EVIL)
    html = write_page(folder).read_text()
    assert "<script" not in html
    assert Page(html).text.count(EVIL) >= 5
    assert "b&amp;b" in html


def test_a_thousand_classes_stay_small(tmp_path):
    counts = [
        [45 if i == j else int((i * 7 + j) % 400 == 3) for j in range(1000)] for i in range(1000)
    ]
    names = [f"class {i} with a long name" for i in range(1000)]
    html = write_page(write_json(tmp_path / "run", ROWS, counts, names)).read_text()
    assert len(html) < 2_000_000
    page = Page(html)
    assert "Confusion matrix of 1000 classes" in html
    assert len(page.table("taken for")) == 11


def test_the_reference_is_the_teacher_else_the_student():
    assert reference_of(ROWS, ACCURACY).name == "teacher"
    unknown = [Row("teacher", "", {"accuracy": None}), *ROWS[1:]]
    assert reference_of(unknown, ACCURACY).name == "student"
    assert reference_of(ROWS[3:], ACCURACY) is None


def test_verdicts():
    teacher, _, student, *_ = ROWS
    assert verdict(student, student, ACCURACY) == "student: 98.89 % at 1.09 MB"
    assert verdict(student, None, ACCURACY) == "student: 98.89 % at 1.09 MB"
    assert verdict(teacher, student, ACCURACY).endswith(
        "7.8\u00d7 larger than the student, +0.83 points"
    )
    bare = Row("s", "", {"accuracy": 0.5})
    assert verdict(bare, teacher, ACCURACY) == "s: 50.00 % at -, \u221249.72 points"


def test_a_folder_without_a_run(tmp_path):
    with pytest.raises(DataError, match="no finished run"):
        write_page(tmp_path)
