"""The zoo's lines, its comparisons, its limits and its page, on networks of a layer."""

import json
import math
import os
import time

import pytest
import torch
import zoo
import zoo_limits
from torch import nn
from zoo_deploy import Deployed, centred_db, compared, judged
from zoo_page import page

from potstill.errors import DataError


def row(part, verdict="right", reason="", **more):
    names = {"library": "timm", "module": "resnet", "name": "resnet18", "side": 64}
    return {**names, "part": part, "verdict": verdict, "reason": reason, "seconds": 1.0, **more}


def test_decibels_do_not_count_what_all_classes_share():
    wanted = torch.tensor([[1.0, -1.0, 0.0]])
    found = wanted + torch.tensor([[0.1, -0.1, 0.0]])
    assert centred_db(wanted, found) == pytest.approx(20)
    assert centred_db(wanted + 100, found + 103) == pytest.approx(20, abs=0.01)
    assert centred_db(wanted, wanted + 5) == math.inf
    assert centred_db(wanted, wanted * torch.nan) == -math.inf


def test_what_is_too_far_is_wrong():
    wanted = torch.tensor([[1.0, -1.0]])
    assert compared(wanted, 1.1 * wanted, 19)["verdict"] == "right"
    assert compared(wanted, 1.1 * wanted, 21)["verdict"] == "WRONG"

    def refuse():
        raise DataError("export=onnx: no. Fix: another")

    assert judged(refuse) == {"verdict": "refused", "reason": "export=onnx: no. Fix: another"}
    assert judged(lambda: 1 / 0)["verdict"] == "WRONG"


def test_a_network_of_a_layer_is_right_in_int8_and_in_onnx():
    pytest.importorskip("onnxscript")

    def build():
        torch.manual_seed(0)
        return nn.Sequential(
            nn.Conv2d(3, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 10)
        )

    deployed = Deployed(build, 8)
    for part in ("int8", "onnx", "onnx_int8"):
        assert getattr(deployed, part)()["verdict"] == "right"


def test_a_part_that_takes_too_long_or_too_much_is_given_up(monkeypatch):
    monkeypatch.setattr(zoo_limits, "WALL", 1)
    begun = time.monotonic()

    def work(part):
        if part == "sleeps":
            time.sleep(60)
        if part == "dies":
            os._exit(1)
        return {"part": part, "verdict": "right", "reason": ""}

    rows = list(zoo_limits.in_child(["a", "sleeps", "b", "dies"], lambda: work))
    assert [(r["part"], r["verdict"]) for r in rows] == [
        ("a", "right"), ("sleeps", "refused"), ("b", "right"), ("dies", "refused")
    ]  # fmt: skip
    assert ["too slow" in r["reason"] for r in rows] == [False, True, False, False]
    assert time.monotonic() - begun < 30


def test_the_page_counts_and_names_reasons_by_kind(tmp_path):
    rows = [
        row("prune", macs=0.256),
        row("int8", db=31.6),
        row("onnx", "refused", "export=onnx: 12 layers. Fix: none"),
        {**row("onnx", "refused", "export=onnx: 7 layers. Fix: none"), "module": "vgg"},
    ]
    text = page(rows, zoo.PARTS, limit=360)
    assert "| timm | 1 of 1 right | 1 of 1 right | 0 of 2 right, 2 refused |" in text
    assert "| resnet18 | 64 | 25.6% | right | right, 32 dB | refused (1) |" in text
    assert "\n1. ONNX: N layers. Fix: none\n" in text
    lines = tmp_path / "lines"
    lines.write_text("".join(json.dumps(r) + "\n" for r in [row("int8", "WRONG"), *rows]))
    assert zoo.read(lines)["timm", "resnet", "int8"]["verdict"] == "right"


def test_the_page_is_that_of_the_lines():
    rows = list(zoo.read(zoo.FOLDER / "zoo.jsonl").values())
    assert zoo.PAGE.read_text() == page(rows, zoo.PARTS, zoo_limits.LIMIT)
    assert not [r["name"] for r in rows if r["verdict"] == "WRONG"]
