"""Learning curves: loss, main score and the terms of the loss by epoch."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import LogLocator, MaxNLocator, NullFormatter, ScalarFormatter

from potstill.report.curves import Curve
from potstill.report.style import COLOURS, GREY, tidy
from potstill.tasks.scoring import PERCENT, Score, Scoring

WEIGHTED = "_weighted"
COLUMN = 16  # letters of a name that fit beside two others


def curves_figure(curves: Mapping[str, Curve], scoring: Scoring) -> Figure:
    """Draw loss and main score by epoch for each network, and the terms of the distilled ones."""
    panels = _panels(curves, scoring)
    figure = Figure(figsize=(4.6 * len(panels), 4.6), layout="constrained")
    for axes, (title, draw) in zip(figure.subplots(1, len(panels)), panels.items(), strict=True):
        _finish(axes, title, draw)
    return figure


def curve_panels(curves: Mapping[str, Curve], scoring: Scoring) -> dict[str, Figure]:
    """Return the same as one figure a panel, by its title: a narrow page stacks them."""
    figures = {}
    for title, draw in _panels(curves, scoring).items():
        figures[title] = Figure(figsize=(4.6, 4.0), layout="constrained")
        _finish(figures[title].subplots(), title, draw)
    return figures


def _panels(curves: Mapping[str, Curve], scoring: Scoring) -> dict[str, Callable[[Axes], None]]:
    terms = {name: _terms(curve, scoring) for name, curve in curves.items()}
    # A run with the task term alone would draw its loss twice.
    distilled = {name: found for name, found in terms.items() if len(found) > 1}
    return {
        "Loss": partial(_draw_loss, curves=curves),
        scoring.main.title: partial(_draw_score, curves=curves, score=scoring.main),
        **{
            f"Terms of the training loss: {name}": partial(
                _draw_terms, curve=curves[name], terms=found
            )
            for name, found in distilled.items()
        },
    }


def _finish(axes: Axes, title: str, draw: Callable[[Axes], None]) -> None:
    draw(axes)
    tidy(axes)
    axes.set(title=title, xlabel="epoch")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))


def _draw_loss(axes: Axes, curves: Mapping[str, Curve]) -> None:
    _draw_networks(axes, curves, "loss", scale=1)
    axes.set_ylabel("loss")
    _legend(axes, list(curves), COLOURS, "validation", "training")
    _log_if_positive(axes)


def _draw_score(axes: Axes, curves: Mapping[str, Curve], score: Score) -> None:
    _draw_networks(axes, curves, score.name, score.scale)
    axes.set_ylabel(score.axis)
    _legend(axes, list(curves), COLOURS, "validation", "training")
    floor = _floor(curves, score) if score.unit == PERCENT and score.mode == "max" else None
    if floor is not None:
        axes.set_ylim(floor, 100 + 0.02 * (100 - floor))


def _terms(curve: Curve, scoring: Scoring) -> list[str]:
    """Return the columns of the loss's terms, as the criteria gave them."""
    totals = ("train/loss", *(f"train/{score.name}" for score in scoring.scores))
    return [
        name
        for name in curve
        if name.startswith("train/") and name not in totals and not name.endswith(WEIGHTED)
    ]


def _draw_networks(axes: Axes, curves: Mapping[str, Curve], metric: str, scale: float) -> None:
    for index, curve in enumerate(curves.values()):
        colour = COLOURS[index % len(COLOURS)]
        _line(axes, curve.get(f"train/{metric}", {}), scale, colour, ":")
        _line(axes, curve.get(f"val/{metric}", {}), scale, colour, "-")


def _draw_terms(axes: Axes, curve: Curve, terms: Sequence[str]) -> None:
    # From the other end: a colour that means a network in the first panels is not reused.
    colours = COLOURS[::-1]
    for index, name in enumerate(terms):
        colour = colours[index % len(colours)]
        _line(axes, curve.get(name + WEIGHTED, {}), 1, colour, "-")
        _line(axes, curve[name], 1, colour, ":")
    axes.set_ylabel("loss")
    _log_if_positive(axes)
    names = [name.removeprefix("train/") for name in terms]
    _legend(axes, names, colours, "times its weight", "unweighted")


def _legend(
    axes: Axes, names: Sequence[str], colours: Sequence[str], solid: str, dotted: str
) -> None:
    keys = [
        Line2D([], [], color=colours[index % len(colours)], label=name)
        for index, name in enumerate(names)
    ]
    keys += [
        Line2D([], [], color=GREY, linestyle="-", label=solid),
        Line2D([], [], color=GREY, linestyle=":", label=dotted),
    ]
    # Below the axes: inside, it covers one curve or another.
    axes.legend(
        handles=keys,
        frameon=False,
        loc="upper center",
        bbox_to_anchor=(0.5, -0.14),
        ncols=3 if max(map(len, names), default=0) <= COLUMN else 1,
    )


def _floor(curves: Mapping[str, Curve], score: Score) -> float | None:
    """Return where the axis starts: low enough for every end, high enough to tell them apart."""
    ends = [
        100 * list(values.values())[-1]
        for curve in curves.values()
        for name, values in curve.items()
        if name in (f"train/{score.name}", f"val/{score.name}")
    ]
    floor = 100 - 4 * (100 - min(ends, default=0))
    return floor if floor > 0 else None


def _log_if_positive(axes: Axes) -> None:
    # Losses and their terms span orders of magnitude; a logarithm needs them above zero.
    if all((np.asarray(line.get_ydata()) > 0).all() for line in axes.lines):
        axes.set_yscale("log")
        axes.yaxis.set_major_formatter(ScalarFormatter())
        axes.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
        axes.yaxis.set_minor_formatter(NullFormatter())


def _line(axes: Axes, values: dict[int, float], scale: float, colour: str, style: str) -> None:
    marker = "o" if len(values) <= 3 else ""
    heights = [scale * value for value in values.values()]
    axes.plot(list(values), heights, style, marker=marker, markersize=4, color=colour)
