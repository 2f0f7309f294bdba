"""Inline SVG whose colours follow the page's theme, with a text alternative."""

import io
import itertools
import re
from collections.abc import Callable
from xml.sax.saxutils import escape as quoted

import matplotlib
from markupsafe import Markup, escape
from matplotlib.figure import Figure

from potstill.report.style import COLOURS, GREY, GRID, plain_text

# Colours of the drawing -> names of the theme, given in style.css for light and for dark.
THEME = {
    **{colour.lower(): f"var(--series-{index})" for index, colour in enumerate(COLOURS)},
    GREY.lower(): "var(--soft)",
    GRID.lower(): "var(--line)",
}
TAG = re.compile(r"<[^>]*>")
_counter = itertools.count()


def inline_svg(figure: Figure, title: str, description: str) -> Markup:
    """Return a figure as one <svg> element; `description` is its text alternative."""
    buffer = io.StringIO()
    # Text stays text: it can be searched, and takes the page's font.
    with (
        plain_text(figure) as whole,
        matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": "potstill"}),
    ):
        figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None})
    svg = buffer.getvalue()
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    for shown, text in whole.items():
        svg = svg.replace(
            f">{quoted(shown)}</text>", f"><title>{escape(text)}</title>{quoted(shown)}</text>"
        )
    return Markup(_named(_own_ids(_in_tags(_themed, svg)), title, description))


def _in_tags(change: Callable[[str], str], svg: str) -> str:
    """Return the image with its tags changed; what stands between them are texts of others."""
    return TAG.sub(lambda match: change(match[0]), svg)


def _themed(tag: str) -> str:
    # What has no colour of its own is black by default: the page's ink. Fonts are the page's.
    tag = re.sub(r"font-family: [^;\"]*;? ?", "", tag)
    for colour, name in THEME.items():
        tag = re.sub(re.escape(colour), name, tag, flags=re.IGNORECASE)
    return tag


def _own_ids(svg: str) -> str:
    """Keep the ids that are referred to, each different from those of other images."""
    number = next(_counter)
    used = set(re.findall(r"(?:url\(#|href=\"#)([^)\"]+)", "".join(TAG.findall(svg))))

    def rename(match: re.Match[str]) -> str:
        return f' id="g{number}-{match[1]}"' if match[1] in used else ""

    def renamed(tag: str) -> str:
        tag = re.sub(r' id="([^"]+)"', rename, tag)
        tag = re.sub(r"url\(#([^)]+)\)", rf"url(#g{number}-\1)", tag)
        return re.sub(r'(?:xlink:)?href="#([^"]+)"', rf'href="#g{number}-\1"', tag)

    return _in_tags(renamed, svg)


def _named(svg: str, title: str, description: str) -> str:
    box = re.search(r'viewBox="([^"]+)"', svg)
    assert box is not None
    head = f'<svg class="plot" viewBox="{box[1]}" role="img" aria-label="{escape(title)}. '
    body = svg[svg.index(">", svg.index("<svg")) + 1 :]
    return f'{head}{escape(description)}">{body.strip()}'
