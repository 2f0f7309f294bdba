"""Pareto front of a score against cost, and its plot."""

from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter
from matplotlib.transforms import Bbox

from potstill.measure.units import three_digits
from potstill.report.style import COLOURS, GREY, plain_text, tidy
from potstill.report.text import short
from potstill.tasks.scoring import Score

MARKERS = "os^DvPX"  # drawn in parts.html.j2 in the same order
MAX_LABELS = 14  # above, only the front has names
LOGARITHMIC = 4  # ratio of costs from which equal steps on the axis are equal factors
# Where a label may stand, in points from its marker, the best place first.
PLACES = ((8, -3), (8, 7), (8, -13), (-8, -3), (-8, 7), (-8, -13), (8, 17), (-8, 17), (8, -23))


class Point(NamedTuple):
    """A network in a trade-off: what it costs (less is better), its score as it is shown."""

    name: str
    cost: float
    score: float
    series: int = 0


def pareto_front(points: Sequence[Point], sign: int) -> list[Point]:
    """Return the points that no other one beats in cost or score without losing in the other.

    Sorted by cost; of two that are equal in both, both are on the front. `sign` is 1 where more of
    the score is better, else -1.
    """
    front = [
        point
        for point in points
        if not any(
            other.cost <= point.cost
            and sign * other.score >= sign * point.score
            and (other.cost, other.score) != (point.cost, point.score)
            for other in points
        )
    ]
    return sorted(front, key=lambda point: (point.cost, -sign * point.score))


def trade_off_figure(points: Sequence[Point], label: str, score: Score) -> Figure:
    """Draw a score against cost, the front as a line through its points."""
    figure = Figure(figsize=(4.6, 3.3), layout="constrained")
    axes = figure.subplots()
    front = pareto_front(points, score.sign)
    axes.plot([p.cost for p in front], [p.score for p in front], color=GREY, linewidth=1.2)
    for point in points:
        axes.plot(
            point.cost,
            point.score,
            MARKERS[point.series % len(MARKERS)],
            color=COLOURS[point.series % len(COLOURS)],
            markersize=8,
        )
    axes.set(xlabel=label, ylabel=score.axis)
    tidy(axes)
    axes.yaxis.set_major_locator(MaxNLocator(nbins=6))
    _scale(axes, [point.cost for point in points])
    axes.margins(x=0.2, y=0.18)
    with plain_text(figure):
        _label(figure, axes, points, front)
    return figure


def _scale(axes: Axes, costs: Sequence[float]) -> None:
    plain = FuncFormatter(lambda value, _: three_digits(value).rstrip("0").rstrip("."))
    if min(costs) > 0 and max(costs) / min(costs) >= LOGARITHMIC:
        axes.set_xscale("log")
        axes.xaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0), numticks=8))
        axes.xaxis.set_minor_formatter(NullFormatter())
        axes.xaxis.set_major_formatter(plain)


def _label(figure: Figure, axes: Axes, points: Sequence[Point], front: Sequence[Point]) -> None:
    """Write each name where it covers no marker, no other name and not the line, if it can.

    A name without such a place is left out: the table beside the image has them all.
    """
    figure.canvas.draw()  # where things are is known only then
    frame, taken = figure.bbox, _marks(axes, points, front)
    for point in points if len(points) <= MAX_LABELS else front:
        for right, up in PLACES:
            text = axes.annotate(
                short(point.name),
                (point.cost, point.score),
                xytext=(right, up),
                textcoords="offset points",
                ha="left" if right > 0 else "right",
                size=9,
            )
            box = text.get_window_extent()
            inside = frame.x0 <= box.x0 and box.x1 <= frame.x1
            if inside and not box.count_overlaps(taken):
                taken.append(box)
                break
            text.remove()


def _marks(axes: Axes, points: Sequence[Point], front: Sequence[Point]) -> list[Bbox]:
    """Return the places of the markers and of the line, in pixels."""
    spots, line = (
        axes.transData.transform([(p.cost, p.score) for p in some]) for some in (points, front)
    )
    steps = np.linspace(0, 1, 40)[:, None]
    on_line = [spot for a, b in pairwise(line) for spot in a + steps * (b - a)]
    return [
        *(Bbox.from_bounds(x - 6, y - 6, 12, 12) for x, y in spots),
        *(Bbox.from_bounds(x - 1, y - 1, 2, 2) for x, y in on_line),
    ]


def in_words(points: Sequence[Point], unit: str, score: Score) -> str:
    """Return what the image shows, for who cannot see it."""
    listed = "; ".join(
        f"{p.name} {score.show(p.score / score.scale)} at {three_digits(p.cost)} {unit}"
        for p in sorted(points, key=lambda p: p.cost)
    )
    front = ", ".join(point.name for point in pareto_front(points, score.sign))
    return f"{listed}. On the Pareto front: {front}."
