"""Style that all plots of a report share, and names in them as text."""

import io
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.text import Text

from potstill.report.text import short

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
    with plain_text(figure), matplotlib.rc_context({"savefig.facecolor": "white"}):
        figure.savefig(buffer, format="png", dpi=150)
    return buffer.getvalue()


@contextmanager
def plain_text(figure: Figure) -> Iterator[dict[str, str]]:
    """Let no text in a figure be math, nor be very long; yields the whole of those shortened."""
    whole: dict[str, str] = {}
    # What is made while the figure is drawn, such as the labels of an axis, goes by the setting.
    with matplotlib.rc_context({"text.parse_math": False}), warnings.catch_warnings():
        for unavoidable in ("Glyph .* missing", "constrained_layout not applied"):
            warnings.filterwarnings("ignore", unavoidable, UserWarning)
        for text in figure.findobj(Text):
            text.set_parse_math(False)
            if (shown := short(text.get_text())) != text.get_text():
                whole[shown] = text.get_text()
                text.set_text(shown)
        yield whole
