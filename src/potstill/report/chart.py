"""True against predicted values, a point an image and a colour a network."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from markupsafe import Markup
from matplotlib.figure import Figure

from potstill.report.style import COLOURS, GREY, tidy
from potstill.report.svg import inline_svg

MARKS = 2.5  # points across


def draw_chart(chart: Mapping[str, Any], networks: Sequence[str]) -> Markup:
    """Return a `Chart`, as report.json has it; `networks` give the colours their order."""
    return inline_svg(_figure(chart, networks), chart["title"], in_words(chart))


def _figure(chart: Mapping[str, Any], networks: Sequence[str]) -> Figure:
    figure = Figure(figsize=(4.6, 4.4), layout="constrained")
    axes = figure.subplots()
    values = np.concatenate([np.ravel(pair) for pair in chart["points"].values()])
    ends = [values.min(), values.max()]
    axes.plot(ends, ends, color=GREY, linestyle="--", linewidth=1)
    for name, (x, y) in chart["points"].items():
        place = networks.index(name) if name in networks else 0
        colour = COLOURS[place % len(COLOURS)]
        axes.plot(x, y, "o", color=colour, markersize=MARKS, label=name)
    axes.set(title=chart["title"], xlabel=chart["x"], ylabel=chart["y"])
    tidy(axes)
    axes.legend(frameon=False, loc="upper center", bbox_to_anchor=(0.5, -0.14), ncols=3)
    return figure


def in_words(chart: Mapping[str, Any]) -> str:
    """Return what the image shows, for who cannot see it."""
    told = []
    for name, (x, y) in chart["points"].items():
        apart = np.abs(np.subtract(x, y)).mean()
        told.append(f"{name}: {len(x)} points, {apart:.3g} from the diagonal on average")
    return "; ".join(told) + "."
