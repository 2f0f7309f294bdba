"""Table of a run, for a terminal and for a page, in units people read."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from rich import box
from rich.table import Table
from rich.text import Text

from potstill.measure.units import MISSING, duration, milliseconds, scaled
from potstill.report.row import Row
from potstill.report.text import in_markdown
from potstill.tasks.scoring import Score, Scoring


class Column(NamedTuple):
    """A heading, what it shows of a row and how."""

    heading: str
    value: Callable[[Row], Any]
    show: Callable[[Any], str]
    is_text: bool = False

    def cell(self, row: Row) -> str:
        """Return the text of a row's cell."""
        return self.show(self.value(row))


def columns(scoring: Scoring) -> list[Column]:
    """Return what fits into a terminal of 80 columns."""
    return [
        Column("name", lambda row: row.name, str, is_text=True),
        Column("stage", lambda row: row.stage, str, is_text=True),
        _score(scoring.main),
        Column("parameters", lambda row: row.num_parameters, scaled),
        Column("MACs", lambda row: row.macs, scaled),
        Column("size", lambda row: row.size_bytes, lambda value: scaled(value, "B")),
        Column("latency", lambda row: row.latency_ms, milliseconds),
    ]


def more_columns(scoring: Scoring) -> list[Column]:
    """Return the other measurements."""
    return [
        Column("engine", lambda row: row.latency_engine, _text, is_text=True),
        Column("validation", lambda row: row.score(scoring.val), scoring.main.show),
        Column("p95", lambda row: row.latency_p95_ms, milliseconds),
        *(_score(score) for score in scoring.scores[1:]),
        Column("epochs", lambda row: row.epochs, _text),
        Column("time", lambda row: row.seconds, duration),
    ]


def _score(score: Score) -> Column:
    return Column(score.heading, lambda row: row.score(score.name), score.show)


def _text(value: Any) -> str:
    return MISSING if value is None else str(value)


def rich_table(rows: Sequence[Row], scoring: Scoring) -> Table:
    """Return the table for a terminal of 80 columns or more."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, header_style="bold")
    shown = columns(scoring)
    for column in shown:
        table.add_column(
            column.heading,
            justify="left" if column.is_text else "right",
            no_wrap=not column.is_text,
            overflow="fold",
        )
    for row in rows:
        # As text: rich reads brackets in a name as its own markup.
        table.add_row(*(Text(column.cell(row)) for column in shown))
    return table


def markdown_table(rows: Sequence[Row], scoring: Scoring) -> str:
    """Return the table as Markdown, with every further column that holds a number."""
    more = more_columns(scoring)
    known = [column for column in more if any(column.value(row) is not None for row in rows)]
    shown = [*columns(scoring), *known]
    lines = [
        [column.heading for column in shown],
        ["---" if column.is_text else "---:" for column in shown],
        *([_cell(column.cell(row)) for column in shown] for row in rows),
    ]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines) + "\n"


def _cell(text: str) -> str:
    return in_markdown(text).replace("|", "\\|")
