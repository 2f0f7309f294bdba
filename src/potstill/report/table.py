"""The table of a run, for a terminal and for a page, in units people read."""

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from rich import box
from rich.table import Table
from rich.text import Text

from potstill.report.row import Row

MISSING = "-"
TEXTS = ("name", "stage", "latency_engine")
# From (at least, divide by): 0.27 M stands in one column with 11.2 M better than 270 k does.
PREFIXES = ((1e9, 1e9, "G"), (1e5, 1e6, "M"), (1e3, 1e3, "k"))


def scaled(value: float | None, unit: str = "") -> str:
    """Return `value` in three digits with k, M or G: 0.27 M, 41.2 M, 1.09 MB."""
    if value is None:
        return MISSING
    found = next((prefix for prefix in PREFIXES if value >= prefix[0]), None)
    if found is None:
        return f"{value:.0f} {unit}".rstrip()
    return f"{three_digits(value / found[1])} {found[2]}{unit}"


def three_digits(value: float) -> str:
    """Return `value` with two, one or no decimals, by its size."""
    decimals = 2 if value < 9.995 else 1 if value < 99.95 else 0
    return f"{value:.{decimals}f}"


def percent(value: float | None) -> str:
    """Return a fraction as a percentage."""
    return _measured(value, lambda number: f"{100 * number:.2f} %")


def milliseconds(value: float | None) -> str:
    """Return milliseconds in three digits."""
    return _measured(value, lambda number: f"{three_digits(number)} ms")


def duration(value: float | None) -> str:
    """Return seconds as seconds, minutes or hours."""
    if value is None or not math.isfinite(value):
        return MISSING
    seconds = round(value)
    if seconds < 60:
        return f"{value:.1f} s"
    minutes, rest = divmod(seconds, 60)
    return f"{minutes} min {rest} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


def _measured(value: float | None, show: Callable[[float], str]) -> str:
    return MISSING if value is None or not math.isfinite(value) else show(value)


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
    Column("KL", "divergence", lambda value: _measured(value, "{:.3f} nats".format)),
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
