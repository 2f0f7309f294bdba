"""The table of a run, for a terminal and for a page, in units people read."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from rich import box
from rich.table import Table
from rich.text import Text

from potstill.measure.units import MISSING, duration, measured, milliseconds, percent, scaled
from potstill.report.row import Row

TEXTS = ("name", "stage", "latency_engine")


class Column(NamedTuple):
    """A heading, the field it shows and how."""

    heading: str
    field: str
    show: Callable[[Any], str]


COLUMNS = (
    Column("name", "name", str),
    Column("stage", "stage", str),
    Column("accuracy", "accuracy", percent),
    Column("parameters", "num_parameters", scaled),
    Column("MACs", "macs", scaled),
    Column("size", "size_bytes", lambda value: scaled(value, "B")),
    Column("latency", "latency_ms", milliseconds),
)
MORE_COLUMNS = (
    Column("engine", "latency_engine", lambda value: value or MISSING),
    Column("validation", "val_accuracy", percent),
    Column("p95", "latency_p95_ms", milliseconds),
    Column("ECE", "ece", percent),
    Column("agreement", "agreement", percent),
    Column("KL", "divergence", lambda value: measured(value, "{:.3f} nats".format)),
    Column("epochs", "epochs", lambda value: MISSING if value is None else str(value)),
    Column("time", "seconds", duration),
)


def rich_table(rows: Sequence[Row]) -> Table:
    """Return the table for a terminal of 80 columns or more."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, header_style="bold")
    for column in COLUMNS:
        is_text = column.field in TEXTS
        table.add_column(
            column.heading,
            justify="left" if is_text else "right",
            no_wrap=not is_text,
            overflow="fold",
        )
    for row in rows:
        # As text: rich reads brackets in a name as its own markup.
        table.add_row(*(Text(column.show(getattr(row, column.field))) for column in COLUMNS))
    return table


def markdown_table(rows: Sequence[Row]) -> str:
    """Return the table as Markdown, with every further column that holds a number."""
    known = [c for c in MORE_COLUMNS if any(getattr(row, c.field) is not None for row in rows)]
    columns = [*COLUMNS, *known]
    lines = [
        [column.heading for column in columns],
        ["---" if column.field in TEXTS else "---:" for column in columns],
        *([_cell(column.show(getattr(row, column.field))) for column in columns] for row in rows),
    ]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines) + "\n"


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")
