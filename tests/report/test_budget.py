"""Choosing, against tables small enough to choose by eye."""

import pytest

from potstill.errors import ConfigError
from potstill.report.budget import Budget, drop, recommend
from potstill.report.row import Row
from potstill.tasks.scoring import CLASSIFICATION
from tests.support.sample_runs import ROWS

TEACHER, BASELINE, STUDENT, PRUNED, PTQ, QAT = ROWS


ACCURACY = CLASSIFICATION.main


def chosen(rows=ROWS, budget=None):
    return {
        choice.what: choice.row and choice.row.name for choice in recommend(rows, ACCURACY, budget)
    }


def test_most_accurate_smallest_and_fastest_without_the_teacher():
    assert chosen() == {"most accurate": "student", "smallest": "int8-ptq", "fastest": "pruned"}


@pytest.mark.parametrize(
    ("limits", "name"),
    [
        ({"size_mb": 0.1}, "int8-qat"),  # ptq is smaller and less accurate
        ({"size_mb": 0.3}, "pruned"),  # 98.61 against 98.60
        ({"size_mb": 1.094}, "student"),  # a limit may be reached
        ({"latency_ms": 0.25}, "pruned"),  # the int8 ones have no latency
        ({"size_mb": 0.1, "accuracy_drop": 0.29}, "int8-qat"),  # 98.89 - 98.60
        ({"size_mb": 0.1, "accuracy_drop": 0.28}, None),
        ({"size_mb": 0.1, "latency_ms": 1}, None),
        ({"accuracy_drop": 0}, "student"),
    ],
)
def test_the_best_within_a_budget(limits, name):
    assert chosen(budget=Budget.of(limits))["best within the budget"] == name


def test_what_does_not_fit_says_why():
    choice = recommend(ROWS, ACCURACY, Budget.of({"size_mb": 0.0881, "accuracy_drop": 1}))[-1]
    assert choice.row is None
    assert "pruned: size 0.268 MB" in choice.why
    assert "int8-ptq: accuracy drop 1.39 points" in choice.why
    choice = recommend(ROWS, ACCURACY, Budget.of({"size_mb": 0.1, "latency_ms": 1}))[-1]
    assert "int8-qat: latency not measured" in choice.why


def test_the_drop_is_counted_from_the_student():
    assert drop(PTQ, STUDENT) == 1.39
    assert drop(Row("a", "b", {"accuracy": 0.98}), Row("c", "d", {"accuracy": 0.985})) == 0.5
    assert drop(Row("a", "b"), STUDENT) is None
    only = [TEACHER, Row("pruned", "prune", {"accuracy": 0.9})]
    assert chosen(only, Budget.of({"accuracy_drop": 50}))["best within the budget"] is None


def test_of_equals_the_smaller_then_the_faster_then_the_earlier():
    rows = [
        Row("a", "", {"accuracy": 0.9}, size_bytes=2, latency_ms=1.0),
        Row("b", "", {"accuracy": 0.9}, size_bytes=1, latency_ms=2.0),
        Row("c", "", {"accuracy": 0.9}, size_bytes=1, latency_ms=1.0),
        Row("d", "", {"accuracy": 0.9}, size_bytes=1, latency_ms=1.0),
    ]
    assert set(chosen(rows).values()) == {"c"}


def test_engines_are_not_raced_against_each_other():
    rows = [
        Row("a", "", {"accuracy": 0.9}, latency_ms=1.0, latency_engine="eager"),
        Row("b", "", {"accuracy": 0.9}, latency_ms=0.2, latency_engine="onnxruntime"),
        Row("c", "", {"accuracy": 0.9}, latency_ms=0.1, latency_engine="onnxruntime"),
    ]
    found = chosen(rows)
    assert (found["fastest in eager"], found["fastest in onnxruntime"]) == ("a", "c")


def test_nothing_measured_is_nothing_recommended():
    assert set(chosen([TEACHER]).values()) == {None}
    assert set(chosen([Row("student", "")]).values()) == {None}


@pytest.mark.parametrize("settings", [None, {}, {"size_mb": None}])
def test_no_budget(settings):
    assert Budget.of(settings) is None


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"size": 1}, r"budget\.size: unknown key\. Fix: size_mb"),
        ({"size_mb": 0}, r"budget\.size_mb=0: not a limit\. Fix: a number, more than 0"),
        ({"latency_ms": "2ms"}, r"budget\.latency_ms=2ms"),
        ({"latency_ms": True}, r"budget\.latency_ms=True"),
        ({"accuracy_drop": -1}, r"budget\.accuracy_drop=-1: not a limit.*0 or more"),
        ({"size_mb": float("nan")}, r"budget\.size_mb=nan"),
        (3, r"budget=3: must be a mapping"),
    ],
)
def test_a_budget_that_cannot_be_one(settings, message):
    with pytest.raises(ConfigError, match=message):
        Budget.of(settings)


def test_a_budget_in_words():
    text = str(Budget(1, None, 0.5))
    assert text == "at most 1 MB, at most 0.5 points less accurate than the student"
