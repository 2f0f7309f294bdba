"""Hostile names, and reports, from one end of a run's report to the other: text or one line."""

import json
import re
import xml.etree.ElementTree as ET

import pytest

from potstill.integrity.sealed import read_sealed, write_sealed
from potstill.report.command import main
from potstill.report.sweep import write_sweep
from tests.support.hostile_names import NAMES
from tests.support.html_read import Page
from tests.support.sample_runs import ROWS, row, write_json, write_run

ROW_NAMES = [row(ROWS[k % 6], name=name, stage=name) for k, name in enumerate(NAMES)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    meta = {"name": NAMES[0], "command": NAMES[1], "dataset": NAMES[2], "data": NAMES[3]}
    folder = tmp_path_factory.mktemp("hostile") / "run"
    return write_run(folder, ROW_NAMES, NAMES, photos=280, meta=meta, curves=NAMES[:9])


@pytest.fixture(scope="module")
def page(folder):
    return Page((folder / "report.html").read_text())


def test_no_name_makes_a_tag(folder, page):
    assert {tag for tag, _ in page.tags} & {"script", "b", "raw", "iframe"} == set()
    assert [
        tag for tag, attributes in page.tags if any(key[:2] == "on" for key in attributes)
    ] == []
    examples = json.loads((folder / "report.json").read_text())["examples"]
    assert len([tag for tag, _ in page.tags if tag == "img"]) == len(examples)


def test_every_class_is_there_whole(page):
    whole = {attributes.get("title") for tag, attributes in page.tags if tag == "bdi"}
    assert [name for name in NAMES if name not in page.text and name not in whole] == []
    assert max(map(len, page.text.split())) < 200


def test_plots_hold_the_names_as_text_and_the_whole_of_long_ones(folder):
    texts, wholes = [], []
    for svg in re.findall(
        r"<svg class=\"plot\".*?</svg>", (folder / "report.html").read_text(), re.S
    ):
        root = ET.fromstring(svg)
        texts += [e.text or (e[0].tail if len(e) else "") for e in root.iter() if e.tag == "text"]
        wholes += [e.text for e in root.iter() if e.tag == "title"]
    assert {name for name in NAMES[:9] if len(name) <= 40} <= set(texts)
    assert NAMES[1] in wholes


def test_markdown_holds_them_between_backticks(folder):
    text = (folder / "report.md").read_text()
    outside = re.sub(r"(`+)(?!`).*?(?<!`)\1(?!`)", "", text)
    assert not re.search(r"<|\$", outside)
    assert f"| `{NAMES[0]}` |" in text


def test_a_name_from_a_file_that_no_data_would_have(tmp_path):
    evil = "a\nb\x00\ud800</title>"
    rows = [row(ROWS[0], name=evil), row(ROWS[1], stage=evil)]
    folder = write_json(tmp_path / "run", rows, class_names=(evil, "dog"), name=evil, command=evil)
    assert main([str(folder)]) == 0
    assert r"a\nb\x00\ud800</title>" in Page((folder / "report.html").read_text()).text


def test_a_sweeps_job_is_no_address_of_a_script(tmp_path):
    for job, value in (("javascript:alert(1)", 1), ("%2e", 2)):
        write_json(tmp_path / "sweep" / job, overrides=[f"alpha={value}", f"{NAMES[0]}={value}"])
    links = [
        a for a in Page(write_sweep(tmp_path / "sweep").read_text()).addresses if "data:" not in a
    ]
    assert sorted(links) == ["./%252e/report.html", "./javascript%3Aalert%281%29/report.html"]


DAMAGED = {
    "rows": [[1], [{"name": 1, "stage": ""}], [{"name": "s", "stage": "", "accuracy": "x"}], {}],
    "class_names": ["ab", [1, 2], ["one"]],
    "confusion": [[[1, -1], [0, 1]], {"support": [1]}, [["a", "b"], [1, 2]], 3],
    "class_accuracy": [{"student": ["x", "y"]}, {"student": [0.5]}, []],
    "reliability": [{"student": {"accuracy": [0.5], "confidence": [], "count": []}}, {"s": 1}],
    "examples": [[{}], [{"position": 0, "target": [], "ours": [], "theirs": None}], "x"],
    "charts": [[{"title": "t", "x": "x", "y": "y", "points": {"s": [[], []]}}], [{}]],
    "curves": [{"student": {"val/loss": [[1], [2, 3]]}}, {"student": {"val/loss": ["a", "b"]}}, 1],
    "scoring": [{"task": "t", "scores": []}, {"task": "t", "scores": [{"name": "a"}]}, 1],
    "meta": [{"budget": {"size_mb": "x"}}, [], 1],
    "machine": [[], 1],
    "subject": [1, None],
}
CASES = [(key, value) for key, values in DAMAGED.items() for value in values]


@pytest.mark.parametrize(("key", "value"), CASES)
def test_a_report_of_wrong_shapes_is_one_line(key, value, tmp_path, capsys):
    folder = write_json(tmp_path / "run")
    record = read_sealed(folder / "report.json")
    write_sealed(folder / "report.json", record | {key: value})
    assert main([str(folder)]) in (2, 3)
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1
    assert "Fix: " in lines[0]


@pytest.mark.parametrize(
    "text", ["[" * 100_000, "{}", "null", "NaN", '{"rows": 1e999}', "\x00", "\xff"]
)
def test_a_report_that_is_none_is_one_line(text, tmp_path, capsys):
    folder = write_json(tmp_path / "run")
    (folder / "report.json").write_bytes(text.encode("latin-1"))
    assert main([str(folder)]) == 3
    assert len(capsys.readouterr().err.splitlines()) == 1


def test_thousands_of_classes_make_no_large_report(tmp_path):
    names = [f"class {k} of very many" for k in range(2000)]
    folder = write_run(tmp_path / "run", ROWS, names, photos=4000)
    sizes = {name: (folder / name).stat().st_size for name in ("report.json", "report.html")}
    assert max(sizes.values()) < 1_000_000
    page = Page((folder / "report.html").read_text())
    assert "Each is 4 classes" in page.text
    assert len(page.table("taken for")) == 11
