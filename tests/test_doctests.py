"""Examples in docstrings print what they say."""

import doctest
import importlib

import pytest

from tests.support.places import SOURCE

PATHS = [path for path in sorted(SOURCE.rglob("*.py")) if ">>>" in path.read_text()]


@pytest.mark.parametrize("path", PATHS, ids=lambda path: str(path.relative_to(SOURCE)))
def test_examples_print_what_they_say(path):
    name = ".".join(path.relative_to(SOURCE.parent).with_suffix("").parts)
    result = doctest.testmod(importlib.import_module(name), optionflags=doctest.ELLIPSIS)
    assert result.attempted
    assert not result.failed


def test_there_are_examples():
    assert sum(path.read_text().count("Example:\n") for path in PATHS) >= 60
