"""Names as text: on one line, short, and never markup."""

import pytest

from potstill.report.text import in_markdown, named, one_line, short
from tests.support.html_read import Page


@pytest.mark.parametrize(
    "name", ["plain", "<b>&amp;\"'</b>", "\u202eabc", "\U0001f469\u200d\U0001f692"]
)
def test_a_name_is_read_back_from_the_page(name):
    page = Page(str(named(name)))
    assert page.text == name
    assert [tag for tag, _ in page.tags] == ["bdi"]


def test_a_long_name_has_the_whole_on_hover():
    page = Page(str(named('"<' * 5000)))
    assert page.tags == [("bdi", {"title": '"<' * 5000})]
    assert page.text == '"<' * 19 + '"\u2026'


def test_lines_and_control_characters_are_written_out():
    assert one_line("a\nb\t\x1b[0m\u2028\ud800") == r"a\nb\t\x1b[0m\u2028\ud800"
    assert short("a\n" * 100, 5) == r"a\na" + "\u2026"


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("prune + distil", "prune + distil"),
        ("ce_only", "ce_only"),
        ("_x_", "`_x_`"),
        ("$x$", "`$x$`"),
        ("`", "`` ` ``"),
        ("a``b", "```a``b```"),
        ("[a](javascript:b)", "`[a](javascript:b)`"),
    ],
)
def test_markdown_shows_the_name_itself(name, expected):
    assert in_markdown(name) == expected
