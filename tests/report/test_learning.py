"""What the image of a training shows, read back from the drawn figure."""

import pytest

from potstill.report.learning import curves_figure
from potstill.tasks.scoring import CLASSIFICATION

TEACHER = {
    "train/loss": {1: 2.0, 2: 0.5},
    "train/task": {1: 2.0, 2: 0.5},
    "train/task_weighted": {1: 2.0, 2: 0.5},
    "train/accuracy": {1: 0.2, 2: 0.97},
    "val/loss": {1: 1.5, 2: 0.4},
    "val/accuracy": {1: 0.3, 2: 0.95},
}
STUDENT = TEACHER | {
    "train/kd": {1: 8.0, 2: 4.0},
    "train/kd_weighted": {1: 4.0, 2: 2.0},
    "val/accuracy": {1: 0.25, 2: 0.9},
}


def drawn(axes):
    """Return ((x, y), style, colour) of every line with points."""
    lines = [line for line in axes.lines if len(line.get_xdata())]
    return [(line.get_xydata().tolist(), line.get_linestyle(), line.get_color()) for line in lines]


def legend(axes):
    return [text.get_text() for text in axes.get_legend().get_texts()]


def test_networks_share_a_colour_and_splits_a_style():
    loss, accuracy, _ = curves_figure({"teacher": TEACHER, "student": STUDENT}, CLASSIFICATION).axes
    lines = drawn(accuracy)
    assert [points for points, _, _ in lines] == [
        [[1, 20], [2, 97]],
        [[1, 30], [2, 95]],
        [[1, 20], [2, 97]],
        [[1, 25], [2, 90]],
    ]
    assert [style for _, style, _ in lines] == [":", "-", ":", "-"]
    colours = [colour for _, _, colour in lines]
    assert colours[0] == colours[1] != colours[2] == colours[3]
    assert legend(loss) == ["teacher", "student", "validation", "training"]


def test_terms_are_drawn_for_distilled_networks_only():
    figure = curves_figure({"teacher": TEACHER, "student": STUDENT}, CLASSIFICATION)
    assert len(figure.axes) == 3
    terms = figure.axes[2]
    assert "student" in terms.get_title()
    assert legend(terms) == ["task", "kd", "times its weight", "unweighted"]
    points = [(points[0][1], style) for points, style, _ in drawn(terms)]
    assert points == [(2.0, "-"), (2.0, ":"), (4.0, "-"), (8.0, ":")]


@pytest.mark.parametrize(("last", "bottom"), [(0.9, 60.0), (0.99, 96.0)])
def test_accuracy_axis_opens_up_near_the_top(last, bottom):
    curve = {"val/accuracy": {1: 0.1, 2: last}}
    low, high = curves_figure({"net": curve}, CLASSIFICATION).axes[1].get_ylim()
    assert low == pytest.approx(bottom)
    assert high > 100


def test_accuracy_axis_shows_everything_where_the_end_is_low():
    low, _ = (
        curves_figure({"net": {"val/accuracy": {1: 0.1, 2: 0.5}}}, CLASSIFICATION)
        .axes[1]
        .get_ylim()
    )
    assert low < 10


@pytest.mark.parametrize(("value", "scale"), [(0.5, "log"), (0.0, "linear"), (-0.5, "linear")])
def test_loss_axis_is_logarithmic_where_it_can_be(value, scale):
    axes = curves_figure({"net": {"val/loss": {1: 1.0, 2: value}}}, CLASSIFICATION).axes[0]
    assert axes.get_yscale() == scale
