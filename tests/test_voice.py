"""Modules say what they are in the field's words: a noun phrase first, images throughout."""

import ast

import pytest

from tests.support.places import SOURCE

RIDDLES = ("What", "Which", "How", "Whether", "Where", "When", "Why")
FILES = sorted(SOURCE.rglob("*.py"))


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(SOURCE)))
def test_a_modules_docstring_opens_with_a_noun_phrase(path):
    text = path.read_text()
    docstring = ast.get_docstring(ast.parse(text)) or ""
    assert docstring or not text
    assert docstring.partition(" ")[0] not in RIDDLES
    assert "picture" not in text.lower()
