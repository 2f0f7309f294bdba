"""A figure inside a page: well formed, themed, named, with ids of its own."""

import re
import xml.etree.ElementTree as ET

from matplotlib.figure import Figure

from potstill.report.style import COLOURS, GREY
from potstill.report.svg import inline_svg


def figure():
    made = Figure(figsize=(3, 2))
    axes = made.subplots()
    axes.plot([1, 2], [1, 2], color=COLOURS[0], marker="o")
    axes.plot([1, 2], [2, 1], color=GREY)
    axes.set_title("a <title> & more")
    return made


def test_well_formed_with_a_name_and_a_description():
    root = ET.fromstring(inline_svg(figure(), "Loss", 'of "a" <b> & c'))
    assert root.tag == "svg"
    assert root.get("role") == "img"
    assert root.get("aria-label") == 'Loss. of "a" <b> & c'
    assert root.get("width") is None
    assert "a <title> & more" in [element.text for element in root.iter("text")]


def test_colours_are_the_themes():
    svg = str(inline_svg(figure(), "", ""))
    assert "stroke: var(--series-0)" in svg
    assert "stroke: var(--soft)" in svg
    assert "stroke: var(--series-6)" in svg  # the axes, black
    assert not re.search(r"#[0-9a-fA-F]{6}", svg)
    assert "white" not in svg
    assert "font:" not in svg
    assert "DejaVu" not in svg


def test_nothing_from_elsewhere_and_no_id_twice():
    both = str(inline_svg(figure(), "", "")) + str(inline_svg(figure(), "", ""))
    assert "://" not in both
    ids = re.findall(r'\bid="([^"]+)"', both)
    assert ids
    assert len(ids) == len(set(ids))
    referred = set(re.findall(r'(?:url\(#|href="#)([^)"]+)', both))
    assert referred == set(ids)
