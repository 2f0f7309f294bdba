"""Scores as text, differences and orders, against values written out."""

import json
import math
from dataclasses import asdict

import pytest

from potstill.errors import ConfigError
from potstill.tasks.scoring import CLASSIFICATION, Score, Scoring

ACCURACY, RMSE = CLASSIFICATION.main, Score("rmse", "RMSE", mode="min", short="err")
LENGTH = Score("length", "length", "mm", "min")
ERRORS = Scoring("length", (RMSE, LENGTH))


@pytest.mark.parametrize(
    ("score", "value", "text"),
    [
        (ACCURACY, 0.98611, "98.61 %"),
        (RMSE, 0.12345, "0.123"),
        (LENGTH, 12.0, "12.000 mm"),
        (RMSE, None, "-"),
        (LENGTH, math.nan, "-"),
    ],
)
def test_a_value_has_its_unit(score, value, text):
    assert score.show(value) == text


def test_a_gain_is_in_points_or_in_the_unit_and_positive_where_it_is_better():
    assert ACCURACY.gain(0.98, 0.985) == -0.5  # not -0.5000000000000004
    assert RMSE.gain(0.5, 0.75) == 0.25
    assert RMSE.difference(0.5, 0.75) == -0.25
    assert (ACCURACY.points, RMSE.points, LENGTH.points) == ("points", "RMSE", "mm")


def test_the_best_comes_first_and_what_is_unknown_last():
    assert sorted([0.2, None, 0.9, 0.5], key=ACCURACY.rank) == [0.9, 0.5, 0.2, None]
    assert sorted([0.2, None, 0.9, 0.5], key=RMSE.rank) == [0.2, 0.5, 0.9, None]


def test_directions_of_what_validation_logs():
    found = {name: ERRORS.mode(name) for name in ("val/rmse", "val/ema_rmse", "val/loss", "other")}
    assert found == {"val/rmse": "min", "val/ema_rmse": "min", "val/loss": "min", "other": None}
    assert CLASSIFICATION.mode("val/accuracy") == "max"
    assert (ERRORS.monitor, ERRORS.val) == ("val/rmse", "val_rmse")
    assert (ERRORS.short("rmse"), ERRORS.short("length")) == ("err", "length")


def test_a_report_reads_back_what_it_was_written_with():
    for scoring in (CLASSIFICATION, ERRORS):
        assert Scoring.from_json(json.loads(json.dumps(asdict(scoring)))) == scoring


def test_a_setting_about_accuracy_needs_one():
    CLASSIFICATION.need_accuracy("teacher.accuracy", 0.9)
    ERRORS.need_accuracy("teacher.accuracy", None)
    with pytest.raises(ConfigError, match=r"^teacher\.accuracy=0\.9: task length is judged by"):
        ERRORS.need_accuracy("teacher.accuracy", 0.9)
