"""Small reliability diagram of each network on a page."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure

from potstill.report.style import COLOURS, GREY, tidy

Bins = Mapping[str, Sequence[float | None]]


def reliability_panel(bins: Bins, series: int) -> Figure:
    """Draw accuracy against confidence from `accuracy` and `count` by bin of equal width."""
    accuracy = 100 * np.array([value or 0.0 for value in bins["accuracy"]])
    left = np.linspace(0, 100, len(accuracy), endpoint=False)
    figure = Figure(figsize=(2.9, 2.7), layout="constrained")
    axes = figure.subplots()
    colour = COLOURS[series % len(COLOURS)]
    axes.bar(left, accuracy, width=92 / len(accuracy), align="edge", color=colour)
    axes.plot([0, 100], [0, 100], color=GREY, linestyle="--", linewidth=1)
    axes.set(xlim=(0, 100), ylim=(0, 100), xlabel="confidence (%)", ylabel="accuracy (%)")
    tidy(axes)
    return figure


def bins_in_words(bins: Bins) -> str:
    """Return the diagram as text: the bins that hold images."""
    counts = [count or 0 for count in bins["count"]]
    total = sum(counts)
    told = [
        f"{100 * count / total:.0f} % of the images at {100 * confidence:.0f} % confidence "
        f"are {100 * right:.0f} % right"
        for count, confidence, right in zip(
            counts, bins["confidence"], bins["accuracy"], strict=True
        )
        if count >= 0.01 * total and confidence is not None and right is not None
    ]
    return "; ".join(told) + "."
