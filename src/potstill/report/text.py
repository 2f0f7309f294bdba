"""Names as text on a page, in a plot and in Markdown: one line, not too long, never code."""

import re
import unicodedata
from typing import Any

from markupsafe import Markup, escape

LONGEST = 40  # letters of a name; the whole is in a page's `title` attribute
MARKS = re.compile(r"[\\`*\[\]<>|$~&#]|\b_|_\b|^_|_$")  # what Markdown may read as its own
UNSEEN = {"Cc", "Cs", "Zl", "Zp"}  # control characters, halves of a pair, line separators


def one_line(value: Any) -> str:
    r"""Return text with control characters and line breaks written out.

    >>> one_line("a\nb\x00")
    'a\\nb\\x00'
    """
    return "".join(
        letter.encode("unicode_escape").decode()
        if unicodedata.category(letter) in UNSEEN
        else letter
        for letter in str(value)
    )


def short(value: Any, most: int = LONGEST) -> str:
    """Return one line of at most `most` letters.

    >>> short("ampullary carcinoma", 10)
    'ampullary…'
    """
    text = one_line(value)
    return text if len(text) <= most else f"{text[: most - 1].rstrip()}…"


def named(value: Any, most: int = LONGEST) -> Markup:
    """Return a name for a page: its own direction of writing, the whole of a long one on hover."""
    text, shown = one_line(value), short(value, most)
    title = Markup("") if text == shown else Markup(' title="{}"').format(text)
    return Markup("<bdi{}>{}</bdi>").format(title, escape(shown))


def in_markdown(value: Any) -> str:
    """Return one line that Markdown shows as it is: between backticks, where it has marks.

    >>> in_markdown("int8-qat"), in_markdown("<b>")
    ('int8-qat', '`<b>`')
    """
    text = one_line(value)
    if not MARKS.search(text):
        return text
    fence = "`"
    while fence in text:
        fence += "`"
    edge = " " if text[0] == "`" or text[-1] == "`" else ""
    return f"{fence}{edge}{text}{edge}{fence}"
