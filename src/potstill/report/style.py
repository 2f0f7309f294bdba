"""Style that all plots of a report share."""

import io

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure

# Okabe and Ito's colours, told apart with any colour vision; the yellow is too pale for a line.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
GREY = "#555555"
GRID = "#dddddd"


def tidy(axes: Axes) -> None:
    """Leave two spines and a pale grid behind the data."""
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(axis="y", color=GRID, linewidth=0.6)
    axes.set_axisbelow(True)


def as_png(figure: Figure) -> bytes:
    """Return the figure as the bytes of a PNG on white."""
    buffer = io.BytesIO()
    with matplotlib.rc_context({"savefig.facecolor": "white"}):
        figure.savefig(buffer, format="png", dpi=150)
    return buffer.getvalue()
