"""The front against its definition by brute force, and what the image shows."""

import random

import pytest

from potstill.report.pareto import Point, in_words, pareto_front, trade_off_figure
from potstill.tasks.scoring import CLASSIFICATION

ACCURACY = CLASSIFICATION.main

FOUR = [
    Point("big", 8.0, 99.0, 0),
    Point("middle", 1.0, 98.0, 1),
    Point("worse", 1.0, 97.0, 2),
    Point("small", 0.1, 97.5, 3),
]


def on_front(points):
    """By sweeping from the cheapest: each step must be more accurate than all before."""
    kept, best = [], float("-inf")
    for cost in sorted({p.cost for p in points}):
        top = max(p.score for p in points if p.cost == cost)
        if top > best:
            kept += [p for p in points if (p.cost, p.score) == (cost, top)]
            best = top
    return kept


def test_front_of_four():
    assert [point.name for point in pareto_front(FOUR, 1)] == ["small", "middle", "big"]


@pytest.mark.parametrize("seed", range(20))
def test_front_of_many_with_ties(seed):
    draw = random.Random(seed)
    points = [Point(str(i), draw.randrange(8), draw.randrange(8)) for i in range(30)]
    front = pareto_front(points, 1)
    assert {p.name for p in front} == {p.name for p in on_front(points)}
    assert [p.cost for p in front] == sorted(p.cost for p in front)


@pytest.mark.parametrize("seed", range(5))
def test_front_of_a_score_of_which_less_is_better(seed):
    draw = random.Random(seed)
    points = [Point(str(i), draw.randrange(8), draw.randrange(8)) for i in range(30)]
    mirrored = [point._replace(score=-point.score) for point in points]
    assert {p.name for p in pareto_front(points, -1)} == {p.name for p in on_front(mirrored)}


def test_image_has_every_point_and_the_line_of_the_front():
    axes = trade_off_figure(FOUR, "size (MB)", ACCURACY).axes[0]
    line, *marks = axes.lines
    assert list(zip(*line.get_data(), strict=True)) == [(0.1, 97.5), (1, 98), (8, 99)]
    assert [(m.get_xdata()[0], m.get_ydata()[0]) for m in marks] == [p[1:3] for p in FOUR]
    assert len({(m.get_marker(), m.get_color()) for m in marks}) == 4
    assert axes.get_xscale() == "log"
    assert trade_off_figure(FOUR[:3][::2], "x", ACCURACY).axes[0].get_xscale() == "log"
    assert trade_off_figure(FOUR[1:3], "x", ACCURACY).axes[0].get_xscale() == "linear"


def test_names_cover_neither_each_other_nor_a_marker():
    close = [*FOUR, Point("next", 1.02, 98.02, 4), Point("near", 0.98, 97.02, 5)]
    figure = trade_off_figure(close, "size (MB)", ACCURACY)
    figure.canvas.draw()
    axes = figure.axes[0]
    boxes = [text.get_window_extent() for text in axes.texts]
    assert len(boxes) >= 4
    assert not any(a.overlaps(b) for i, a in enumerate(boxes) for b in boxes[:i])
    spots = axes.transData.transform([(p.cost, p.score) for p in close])
    assert not any(box.contains(*spot) for box in boxes for spot in spots)
    assert all(figure.bbox.x0 <= box.x0 and box.x1 <= figure.bbox.x1 for box in boxes)


def test_of_many_points_only_the_front_has_names():
    many = [Point(f"n{i}", 1 + i, 90 - i / 10) for i in range(20)]
    names = [text.get_text() for text in trade_off_figure(many, "ms", ACCURACY).axes[0].texts]
    assert names == ["n0"]


def test_the_image_in_words():
    assert in_words(FOUR, "MB", ACCURACY) == (
        "small 97.50 % at 0.10 MB; middle 98.00 % at 1.00 MB; worse 97.00 % at 1.00 MB; "
        "big 99.00 % at 8.00 MB. On the Pareto front: small, middle, big."
    )
