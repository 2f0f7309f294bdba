"""Who stands in an image, and what is said of who does not."""

from pathlib import Path

from potstill.report.read import Run
from potstill.report.tradeoff import entries, latency_plot, size_plot
from potstill.tasks.scoring import CLASSIFICATION
from tests.support.sample_runs import ROWS, row, timed

ACCURACY = CLASSIFICATION.main

RUN = Run(Path("run"), timed(), machine={"cpu": "EPYC"})


def test_size_holds_every_network():
    plot = size_plot(entries(RUN), ACCURACY)
    assert "int8-qat 98.60 % at 0.09 MB" in plot.svg
    assert "On the Pareto front: int8-ptq, int8-qat, pruned, student, teacher." in plot.svg
    assert "Not shown" not in plot.caption


def test_latency_says_what_it_was_measured_with_and_who_is_absent():
    plot = latency_plot(entries(RUN), ACCURACY)
    assert "Measured with eager on EPYC." in plot.caption
    assert plot.caption.endswith("for want of such a measurement: int8-ptq, int8-qat.")
    assert "int8" not in plot.svg


def test_only_the_most_common_engine_is_drawn():
    rows = [*timed(), row(ROWS[5], name="int8", latency_ms=0.02, latency_engine="onnxruntime")]
    plot = latency_plot(entries(Run(Path("run"), rows, machine={"cpu": "EPYC"})), ACCURACY)
    assert "int8" not in plot.svg
    assert plot.caption.endswith(": int8-ptq, int8-qat, int8.")


def test_one_network_is_no_trade_off():
    one = Run(Path("run"), list(ROWS[:1]))
    assert size_plot(entries(one), ACCURACY) is None
    assert latency_plot(entries(one), ACCURACY) is None
    none = Run(Path("run"), [row(r, accuracy=None) for r in ROWS])
    assert size_plot(entries(none), ACCURACY) is None


def test_labels_of_a_comparison():
    found = entries(RUN, 3, "a/")
    assert [entry.label for entry in found][:2] == ["a/teacher", "a/baseline"]
    assert {entry.series for entry in found} == {3}


def test_one_network_ahead_of_all_has_no_line_to_speak_of():
    rows = [ROWS[0], row(ROWS[5], accuracy=0.999)]
    plot = size_plot(entries(Run(Path("run"), rows)), ACCURACY)
    assert "; int8-qat is ahead of all others in both." in plot.caption
    assert "the line joins" in size_plot(entries(RUN), ACCURACY).caption
