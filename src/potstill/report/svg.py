"""Inline SVG whose colours follow the page's theme, with a text alternative."""

import io
import itertools
import re

import matplotlib
from markupsafe import Markup, escape
from matplotlib.figure import Figure

from potstill.report.style import COLOURS, GREY, GRID

# Colours of the drawing -> names of the theme, given in style.css for light and for dark.
THEME = {
    **{colour.lower(): f"var(--series-{index})" for index, colour in enumerate(COLOURS)},
    GREY.lower(): "var(--soft)",
    GRID.lower(): "var(--line)",
}
_counter = itertools.count()


def inline_svg(figure: Figure, title: str, description: str) -> Markup:
    """Return a figure as one <svg> element; `description` is its text alternative."""
    buffer = io.StringIO()
    # Text stays text: it can be searched, and takes the page's font.
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": "potstill"}):
        figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None})
    svg = buffer.getvalue()
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    return Markup(_named(_own_ids(_themed(svg)), title, description))


def _themed(svg: str) -> str:
    # What has no colour of its own is black by default: the page's ink. Fonts are the page's.
    svg = re.sub(r"font-family: [^;\"]*;? ?", "", svg)
    for colour, name in THEME.items():
        svg = re.sub(re.escape(colour), name, svg, flags=re.IGNORECASE)
    return svg


def _own_ids(svg: str) -> str:
    """Keep the ids that are referred to, each different from those of other images."""
    number = next(_counter)
    used = set(re.findall(r"(?:url\(#|href=\"#)([^)\"]+)", svg))

    def rename(match: re.Match[str]) -> str:
        return f' id="g{number}-{match[1]}"' if match[1] in used else ""

    svg = re.sub(r' id="([^"]+)"', rename, svg)
    svg = re.sub(r"url\(#([^)]+)\)", rf"url(#g{number}-\1)", svg)
    return re.sub(r'(?:xlink:)?href="#([^"]+)"', rf'href="#g{number}-\1"', svg)


def _named(svg: str, title: str, description: str) -> str:
    box = re.search(r'viewBox="([^"]+)"', svg)
    assert box is not None
    head = f'<svg class="plot" viewBox="{box[1]}" role="img" aria-label="{escape(title)}. '
    body = svg[svg.index(">", svg.index("<svg")) + 1 :]
    return f'{head}{escape(description)}">{body.strip()}'
