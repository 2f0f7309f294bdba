"""The table's cells against values written out, and its fit into 80 columns."""

import io

from rich.console import Console

from potstill.report.row import Row
from potstill.report.table import columns, markdown_table, rich_table
from potstill.tasks.scoring import CLASSIFICATION

TEACHER = Row(
    "teacher", "train", {"accuracy": 0.98611, "ece": 0.012}, 2_123_456, 7_714_000, 8_489_000, 0.4912
)
STUDENT = Row(
    "student", "distil", {"accuracy": 0.9711}, 271_000, 41_200_000, 1_090_000, 0.834, epochs=20
)


def printed(rows, width=80):
    console = Console(file=io.StringIO(), width=width)
    console.print(rich_table(rows, CLASSIFICATION))
    return [line.rstrip() for line in console.file.getvalue().splitlines()]


def test_terminal_table_fits_80_columns_with_every_cell_whole():
    wide = Row("student", "prune 70 %", {"accuracy": 1.0}, 123e6, 456e9, 789e6, 1234.5)
    lines = printed([TEACHER, STUDENT, wide])
    assert max(map(len, lines)) <= 80
    assert lines[1].split() == [column.heading for column in columns(CLASSIFICATION)]
    row = "student distil 97.11 % 0.27 M 41.2 M 1.09 MB 0.83 ms"
    assert row.split() in [line.split() for line in lines]
    assert "…" not in "".join(lines)


def test_a_long_name_is_folded_not_cut():
    name = "resnet18-from-resnet50-with-attention-and-hints"
    lines = printed([Row(name, "distil", {"accuracy": 0.5}, 1, 1, 1, 1.0)])
    assert max(map(len, lines)) <= 80
    assert "".join(line.split(" ")[1] for line in lines[3:] if line.strip()) == name


def test_names_are_text_not_markup():
    assert any("[bold]x" in line for line in printed([Row("[bold]x", "distil")]))


def test_markdown_adds_only_the_columns_that_were_measured():
    assert markdown_table([TEACHER, STUDENT], CLASSIFICATION) == (
        "| name | stage | accuracy | parameters | MACs | size | latency | ECE | epochs |\n"
        "| --- | --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |\n"
        "| teacher | train | 98.61 % | 2.12 M | 7.71 M | 8.49 MB | 0.49 ms | 1.20 % | - |\n"
        "| student | distil | 97.11 % | 0.27 M | 41.2 M | 1.09 MB | 0.83 ms | - | 20 |\n"
    )


def test_a_bar_in_a_name_does_not_split_the_markdown_cell():
    assert "| `a\\|b` |" in markdown_table([Row("a|b", "distil")], CLASSIFICATION)
