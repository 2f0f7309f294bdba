"""Page of one run: the results on the first screen, and everything behind them."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import yaml
from markupsafe import Markup

from potstill.measure.confusion import group
from potstill.measure.units import scaled
from potstill.report.budget import Budget, Choice, gain, recommend
from potstill.report.chart import draw_chart
from potstill.report.confusion import (
    MAX_PIXELS,
    MAX_TABLE,
    heat_map,
    lost_most,
    most_confused,
    shares,
)
from potstill.report.interval import fraction_interval
from potstill.report.learning import curve_panels
from potstill.report.read import Run, read_run
from potstill.report.reliability import bins_in_words, reliability_panel
from potstill.report.render import points, render, times
from potstill.report.row import Row
from potstill.report.svg import inline_svg
from potstill.report.text import short
from potstill.report.tradeoff import entries, latency_plot, size_plot
from potstill.tasks.scoring import Score

NAME = "report.html"


def write_page(folder: Path | str, out: Path | None = None) -> Path:
    """Write the page of the finished run in `folder` from its report.json; return its path.

    Raises:
        DataError: if the run has no report.
        StorageError: where the page cannot be written.
    """
    run = read_run(folder)
    names = [row.name for row in run.rows]
    shown, budget = entries(run), Budget.of(run.meta.get("budget"))
    scoring, score = run.scoring, run.scoring.main
    choices = recommend(run.rows, score, budget)
    reference = reference_of(run.rows, score)
    best = _headline(run, choices, budget)
    return render(
        out or run.folder / NAME,
        "run.html.j2",
        run=run,
        title=run.title,
        scoring=scoring,
        verdict=verdict(best, reference, score),
        best=best,
        table=[compared(entry.label, entry.row, reference, score, entry.series) for entry in shown],
        reference=reference,
        plots=[plot for plot in (size_plot(shown, score), latency_plot(shown, score)) if plot],
        sure=_sure(run, best),
        curves=_curves(run),
        mistakes=_mistakes(run),
        reliability=_reliability(run),
        charts=[(chart["title"], draw_chart(chart, names)) for chart in run.charts],
        choices=choices,
        budget=budget,
        config=yaml.safe_dump(run.config, sort_keys=False) if run.config else "",
    )


class Compared(NamedTuple):
    """A row of the table beside the network it is compared with."""

    label: str
    row: Row
    series: int
    points: float | None
    smaller: float | None


def compared(
    label: str, row: Row, reference: Row | None, score: Score, series: int = 0
) -> Compared:
    """Return `row` with its difference in score from `reference` and how much smaller it is."""
    if reference is None or row is reference:
        return Compared(label, row, series, None, None)
    gained = gain(row, reference, score)
    known = row.size_bytes and reference.size_bytes
    smaller = reference.size_bytes / row.size_bytes if known else None  # type: ignore[operator]
    return Compared(label, row, series, None if gained is None else score.sign * gained, smaller)


def reference_of(rows: Sequence[Row], score: Score) -> Row | None:
    """Return what the others are compared with: the teacher, else the student, if measured."""
    named = {row.name: row for row in rows if row.score(score.name) is not None}
    return named.get("teacher") or named.get("student")


def _headline(run: Run, choices: Sequence[Choice], budget: Budget | None) -> Row:
    """Return the network that the first line is about: what fits, else what the run ends with."""
    fits = choices[-1].row if budget else None
    return fits or run.row(run.subject) or run.rows[-1]


def verdict(row: Row, reference: Row | None, score: Score) -> str:
    """Return in one line what came out."""
    value = score.show(row.score(score.name))
    text = f"{short(row.name)}: {value} at {scaled(row.size_bytes, 'B')}"
    if reference is None or row.name == reference.name:
        return text
    beside = compared(row.name, row, reference, score)
    if beside.smaller is not None:
        factor = beside.smaller if beside.smaller >= 1 else 1 / beside.smaller
        word = "smaller" if beside.smaller >= 1 else "larger"
        text += f", {times(factor)} {word} than the {short(reference.name)}"
    if beside.points is None:
        return text
    return f"{text}, {points(beside.points, score.decimals)} {score.points}"


def _sure(run: Run, row: Row) -> str:
    """Return what one test image weighs, and the interval of the headline's score."""
    count, value = run.num_tested, row.score(run.scoring.main.name)
    if not run.scoring.main.counts_images or not count or value is None:
        return ""
    low, high = fraction_interval(value, count)
    return (
        f"{count:,} test images: one of them is {100 / count:.2g} points, and the 95 % interval "
        f"of {short(row.name)} is {100 * low:.2f} to {100 * high:.2f} %."
    )


def _curves(run: Run) -> dict[str, Markup]:
    return {
        title: inline_svg(figure, title, _ends(run, title))
        for title, figure in (curve_panels(run.curves, run.scoring) if run.curves else {}).items()
    }


def _ends(run: Run, title: str) -> str:
    """Return where the curves of a panel end, as text."""
    told, main = [], run.scoring.main
    totals = {"Loss": "loss", main.title: main.name}
    for name, curve in run.curves.items():
        for metric, values in curve.items():
            panel = metric.partition("/")[2]
            total = panel in totals.values()
            term = title.endswith(f": {name}") and metric.startswith("train/") and not total
            if values and (term or panel == totals.get(title)):
                epoch, value = list(values.items())[-1]
                told.append(f"{name} {metric} {value:.4g} after epoch {epoch}")
    return "; ".join(told) + "."


def _mistakes(run: Run) -> dict[str, Any]:
    confusion = run.confusion
    if confusion is None:
        return {}
    before = "teacher" if "teacher" in run.class_accuracy else "student"
    accuracy = run.class_accuracy
    known = before in accuracy and run.subject in accuracy and before != run.subject
    matrix = confusion.matrix() if confusion.num_classes <= MAX_TABLE else None
    return {
        "confused": most_confused(confusion, run.class_names),
        "lost": lost_most(
            accuracy[before], accuracy[run.subject], confusion.support, run.class_names
        )
        if known
        else [],
        "before": before if known else "",
        "counts": [] if matrix is None else matrix.tolist(),
        "shares": [] if matrix is None else shares(matrix).tolist(),
        "heat_map": heat_map(confusion) if matrix is None else "",
        "group": group(confusion.num_classes, MAX_PIXELS),
    }


def _reliability(run: Run) -> list[tuple[str, Row | None, Markup]]:
    names = [row.name for row in run.rows]
    return [
        (
            name,
            run.row(name),
            inline_svg(
                reliability_panel(bins, names.index(name) if name in names else 0),
                f"Reliability of {name}",
                bins_in_words(bins),
            ),
        )
        for name, bins in run.reliability.items()
    ]
