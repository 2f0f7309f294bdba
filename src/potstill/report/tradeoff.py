"""Networks of one score-against-cost plot, and its caption."""

from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

from markupsafe import Markup

from potstill.report.budget import MEGABYTE
from potstill.report.pareto import Point, in_words, pareto_front, trade_off_figure
from potstill.report.read import Run
from potstill.report.row import Row
from potstill.report.svg import inline_svg
from potstill.tasks.scoring import Score


class PlottedNetwork(NamedTuple):
    """A network on a page: its label, row and colour, and what its latency was measured with."""

    label: str
    row: Row
    series: int
    clock: str


class Plot(NamedTuple):
    """An image and the text below it."""

    svg: Markup
    caption: str


def entries(run: Run, series: int | None = None, prefix: str = "") -> list[PlottedNetwork]:
    """Return a run's networks, each in a colour of its own or all in the colour `series`."""
    return [
        PlottedNetwork(prefix + row.name, row, index if series is None else series, clock(run, row))
        for index, row in enumerate(run.rows)
    ]


def clock(run: Run, row: Row) -> str:
    """Return what a latency was measured with; only latencies of one clock compare."""
    engine = row.latency_engine or "eager"  # all that earlier reports have
    return f"{engine} on {run.machine.get('cpu') or 'an unnamed CPU'}"


def size_plot(shown: Sequence[PlottedNetwork], score: Score) -> Plot | None:
    """Draw a score against size in MB; None where fewer than two networks have both."""
    known = [entry for entry in shown if entry.row.size_bytes]
    points = [_point(entry, (entry.row.size_bytes or 0) / MEGABYTE, score) for entry in known]
    return _plot(points, ("size", "MB"), score, _absent(shown, points))


def latency_plot(shown: Sequence[PlottedNetwork], score: Score) -> Plot | None:
    """Draw a score against latency, of the networks measured in the most common way."""
    timed = [entry for entry in shown if entry.row.latency_ms is not None]
    if not timed:
        return None
    most = Counter(entry.clock for entry in timed).most_common(1)[0][0]
    points = [_point(e, e.row.latency_ms or 0, score) for e in timed if e.clock == most]
    remarks = f"Measured with {most}.{_absent(shown, points)}"
    return _plot(points, ("latency", "ms"), score, f" {remarks}")


def _plot(
    points: Sequence[Point | None], cost: tuple[str, str], score: Score, remarks: str
) -> Plot | None:
    drawn = [point for point in points if point is not None]
    if len(drawn) < 2:
        return None
    (name, unit), title = cost, f"{score.title} against {cost[0]}"
    figure = trade_off_figure(drawn, f"{name} ({unit})", score)
    svg = inline_svg(figure, title, in_words(drawn, unit, score))
    return Plot(svg, f"{title}; {_front(drawn, score)}.{remarks}")


def _front(points: Sequence[Point], score: Score) -> str:
    front = pareto_front(points, score.sign)
    if len(front) == 1:
        return f"{front[0].name} is ahead of all others in both"
    return "the line joins the networks that no other one beats in both"


def _point(entry: PlottedNetwork, cost: float, score: Score) -> Point | None:
    if (value := entry.row.score(score.name)) is None:
        return None
    return Point(entry.label, cost, score.scale * value, entry.series)


def _absent(shown: Sequence[PlottedNetwork], points: Sequence[Point | None]) -> str:
    there = {point.name for point in points if point is not None}
    names = [entry.label for entry in shown if entry.label not in there]
    return f" Not shown, for want of such a measurement: {', '.join(names)}." if names else ""
