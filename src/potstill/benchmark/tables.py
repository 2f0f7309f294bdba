"""Measurements of one file in one engine, and the tables that show them."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from rich import box
from rich.table import Table
from rich.text import Text

from potstill.benchmark.arguments import ARTIFACT
from potstill.measure.latency import Timing
from potstill.measure.units import MISSING, milliseconds, scaled
from potstill.tasks.scoring import CLASSIFICATION, Scoring


@dataclass
class Measured:
    """A file in its engine; None is what was not measured.

    Attributes:
        name: the file's name.
        engine: what ran it.
        size_bytes: the file, and those that belong to it.
        gzip_bytes: the same compressed.
        num_parameters: learned numbers; see `costs.count_parameters`.
        num_nonzeros: those that are not zero.
        macs: multiply-accumulates for one image.
        memory_bytes: see `memory.peak_bytes`.
        scores: the task's, over the whole test set in this engine, and `robust_NAME`, the mean of
            `corrupted`.
        corrupted: the main score under each corruption.
        scoring: what the scores are.
        latency: (threads, batch) -> milliseconds of the engine's call on the whole batch.
    """

    name: str
    engine: str
    size_bytes: int
    gzip_bytes: int
    num_parameters: int | None = None
    num_nonzeros: int | None = None
    macs: int | None = None
    memory_bytes: int | None = None
    scores: dict[str, float | None] = field(default_factory=dict)
    corrupted: dict[str, float] | None = None
    scoring: Scoring = CLASSIFICATION
    latency: dict[tuple[int, int], Timing] = field(default_factory=dict)

    @property
    def label(self) -> str:
        """The file's name, and its engine where another than the file's own."""
        foreign = self.name.endswith(ARTIFACT) and self.engine != "eager"
        return f"{self.name} in {self.engine}" if foreign else self.name

    def to_json(self) -> dict[str, Any]:
        """Return plain values."""
        timings = [
            {"threads": threads, "batch": batch, **_plain(timing)}
            for (threads, batch), timing in self.latency.items()
        ]
        plain = asdict(self)
        del plain["scoring"]
        scores = unscored(self.scoring) | plain.pop("scores")
        return {**plain, **scores, "latency": timings}


def _plain(timing: Timing) -> dict[str, Any]:
    return {
        "median_ms": timing.median,
        "min_ms": timing.minimum,
        "p95_ms": timing.p95,
        "rounds": timing.rounds,
        "noisy": timing.noisy,
    }


def cost_table(rows: Sequence[Measured]) -> Table:
    """Return sizes, counts and memory."""
    table = _table("", ("size", "gzipped", "params", "not zero", "MACs", "memory"))
    for row in rows:
        _add(
            table,
            row.label,
            *(scaled(row.size_bytes, "B"), scaled(row.gzip_bytes, "B")),
            *(scaled(row.num_parameters), scaled(row.num_nonzeros), scaled(row.macs)),
            scaled(row.memory_bytes, "B"),
        )
    return table


def robust(scoring: Scoring) -> str:
    """Return the name of the main score's mean over corruptions."""
    return f"robust_{scoring.main.name}"


def unscored(scoring: Scoring) -> dict[str, float | None]:
    """Return every score that files have, none of them measured."""
    names = [score.name for score in scoring.scores if score.of_files]
    return dict.fromkeys([*names, robust(scoring)])


def score_table(rows: Sequence[Measured]) -> Table:
    """Return the scores of each file, and its main score under corruptions."""
    scoring = rows[0].scoring
    shown = [score for score in scoring.scores if score.of_files]
    table = _table("", [*(score.heading for score in shown), "corrupted"])
    for row in rows:
        found = [score.show(row.scores.get(score.name)) for score in shown]
        _add(table, row.label, *found, scoring.main.show(row.scores.get(robust(scoring))))
    return table


def corruption_table(rows: Sequence[Measured]) -> Table:
    """Return the main score under each corruption, a column for each file."""
    known, score = [row for row in rows if row.corrupted], rows[0].scoring.main
    table = _table(f"{score.heading} under", [row.label for row in known])
    for name in known[0].corrupted or ():
        _add(table, name, *(score.show((row.corrupted or {})[name]) for row in known))
    return table


def latency_tables(rows: Sequence[Measured]) -> list[Table]:
    """Return a table for each number of threads and images; `noisy` marks those to distrust."""
    return [
        _latency_table(rows, threads, batch)
        for threads, batch in dict.fromkeys(key for row in rows for key in row.latency)
    ]


def _latency_table(rows: Sequence[Measured], threads: int, batch: int) -> Table:
    many = "" if threads == 1 else "s"
    title = f"{threads} thread{many}, batch {batch}"
    table = _table(title, ("median", "minimum", "p95", "rounds", ""))
    for row in rows:
        timing = row.latency.get((threads, batch))
        if timing is None:
            _add(table, row.label, *(4 * [MISSING]), "")
            continue
        shown = map(milliseconds, (timing.median, timing.minimum, timing.p95))
        _add(table, row.label, *shown, str(timing.rounds), "noisy" if timing.noisy else "")
    return table


def host_line(machine: Mapping[str, Any]) -> str:
    """Return one line on the machine: processor, cores, features and load."""
    cpu = machine["cpu"] or "unnamed"
    features = machine["features"] or "none that kernels are chosen by"
    parts = [f"CPU {cpu}, {machine['cores']} cores, features: {features}"]
    if machine.get("load") is not None:
        parts.append(f"load {machine['load'][0]:.1f} before, {machine['load'][1]:.1f} after")
    return "; ".join(parts)


def _table(heading: str, columns: Sequence[str]) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, header_style="bold")
    table.add_column(heading, overflow="fold")
    for column in columns:
        table.add_column(column, justify="right", overflow="fold")
    return table


def _add(table: Table, *cells: str) -> None:
    # As text: rich reads brackets in a name as its own markup.
    table.add_row(*(Text(cell) for cell in cells))
