"""The words that start this program again."""

import sys

import pytest

from potstill.config.program import program


@pytest.mark.parametrize(
    ("first", "words"),
    [
        ("train.py", ["python", "train.py"]),
        ("/home/me/potstill/train.py", ["python", "train.py"]),
        ("/home/me/venv/bin/potstill", ["potstill"]),
    ],
)
def test_a_script_is_run_by_python_and_a_command_by_its_name(monkeypatch, first, words):
    monkeypatch.setattr(sys, "argv", [first, "alpha=0"])
    assert program() == words
