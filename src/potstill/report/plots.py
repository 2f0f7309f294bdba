"""Plots of a test: confusion matrix and reliability diagram."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import PowerNorm
from matplotlib.figure import Figure

from potstill.measure.confusion import Confusion, group
from potstill.report.confusion import MAX_PIXELS, shares
from potstill.report.style import COLOURS, tidy
from potstill.report.text import short

MAX_NUMBERED = 20
MAX_NAMED = 50
MAX_LETTERS = 24


def confusion_figure(confusion: Confusion, class_names: Sequence[str]) -> Figure:
    """Draw the counts as percentages of each true class; of very many, of neighbours together."""
    num_classes, counts = confusion.num_classes, confusion.matrix(MAX_PIXELS)
    share = np.where(counts.sum(axis=1, keepdims=True) > 0, 100 * shares(counts), np.nan)
    end = len(counts) * group(num_classes, MAX_PIXELS) - 0.5
    side = float(np.clip(2.2 + 0.42 * num_classes, 4.5, 10.5))
    figure = Figure(figsize=(side + 0.6, side), layout="constrained")
    axes = figure.subplots()
    # By the square root, or mistakes of a few percent are as white as none.
    extent = (-0.5, end, end, -0.5)
    norm = PowerNorm(0.5, vmin=0, vmax=100)
    image = axes.imshow(share, cmap="Blues", norm=norm, extent=extent)
    figure.colorbar(image, ax=axes, label="share of the true class (%)", shrink=0.8)
    axes.set(title="Confusion", xlabel="predicted class", ylabel="true class")
    if num_classes <= MAX_NAMED:
        names = [short(name, MAX_LETTERS) for name in class_names]
        upright = max(map(len, names)) > 2
        axes.set_xticks(range(num_classes), names, rotation=90 if upright else 0)
        axes.set_yticks(range(num_classes), names)
    if num_classes <= MAX_NUMBERED:
        _number_cells(axes, share)
    return figure


def reliability_figure(reliability: Mapping[str, Sequence[float]]) -> Figure:
    """Draw `accuracy` against confidence, and `count`, by bin.

    Below the diagonal a network is too sure.
    """
    accuracy, count = 100 * np.array(reliability["accuracy"]), np.array(reliability["count"])
    left = np.linspace(0, 100, len(count), endpoint=False)
    bar = {"width": 100 / len(count), "align": "edge", "edgecolor": "white"}
    figure = Figure(figsize=(4.8, 5.6), layout="constrained")
    upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1))
    upper.bar(left, np.nan_to_num(accuracy), color=COLOURS[5], label="network", **bar)
    upper.plot([0, 100], [0, 100], color="black", linestyle="--", label="perfectly calibrated")
    upper.set(ylabel="accuracy (%)", xlim=(0, 100), ylim=(0, 100))
    lower.bar(left, 100 * count / max(count.sum(), 1), color="#999999", **bar)
    lower.set(xlabel="confidence (%)", ylabel="images (%)")
    for axes in (upper, lower):
        tidy(axes)
    figure.suptitle("Reliability")
    figure.legend(frameon=False, loc="outside lower center", ncols=2)
    return figure


def _number_cells(axes: Axes, share: np.ndarray) -> None:
    for (row, column), value in np.ndenumerate(share):
        if value > 0:
            text = f"{value:.0f}" if value >= 0.5 else "<1"
            shade = "white" if value > 30 else "#222222"
            axes.text(column, row, text, ha="center", va="center", color=shade, size=8)
