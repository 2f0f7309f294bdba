"""Networks of runs that differ in their seed alone: means, intervals, paired differences."""

from collections.abc import Sequence
from typing import NamedTuple

from rich import box
from rich.table import Table
from rich.text import Text

from potstill.measure.units import scaled
from potstill.report.interval import Mean, mean_interval
from potstill.report.read import Run
from potstill.report.row import Row

BASELINE = "baseline"


class NetworkMean(NamedTuple):
    """One network over seeds: its test score as shown, and what it gains on the baseline.

    `gain` is paired: run by run, in the direction in which the score is better; None for the
    baseline, the teacher, and where a run has no baseline.
    """

    row: Row
    test: Mean
    gain: Mean | None

    @property
    def resolved(self) -> bool:
        """Whether the interval of the gain leaves 0 out."""
        return bool(
            self.gain and self.gain.half is not None and abs(self.gain.mean) > self.gain.half
        )


def network_means(runs: Sequence[Run]) -> list[NetworkMean]:
    """Return every network that all runs have, in the order of their tables.

    A teacher that is the same network in all runs counts once.
    """
    found = []
    for row in runs[0].rows:
        same = row.name == "teacher" and len({run.meta.get("teacher_sha256") for run in runs}) == 1
        values = _scores(runs[:1] if same else runs, row.name)
        if values:
            found.append(NetworkMean(row, mean_interval(values), _gain(runs, row.name)))
    return found


def _scores(runs: Sequence[Run], name: str) -> list[float]:
    """Return the main score of a network in each run, none where one of them lacks it."""
    main = runs[0].scoring.main
    rows = [run.row(name) for run in runs]
    scores = [None if row is None else row.score(main.name) for row in rows]
    return [] if None in scores else [main.scale * score for score in scores if score is not None]


def _gain(runs: Sequence[Run], name: str) -> Mean | None:
    base = _scores(runs, BASELINE)
    if name in ("teacher", BASELINE) or not base or len(runs) < 2:
        return None
    sign = runs[0].scoring.main.sign
    ours = _scores(runs, name)
    return (
        mean_interval([sign * (a - b) for a, b in zip(ours, base, strict=True)]) if ours else None
    )


def shown(value: Mean, decimals: int) -> str:
    """Return a mean and half its interval as text.

    Example:
        >>> shown(Mean(98.7, 0.61, 5), decimals=1)
        '98.7 ± 0.6'
    """
    half = "" if value.half is None else f" ± {value.half:.{decimals}f}"
    return f"{value.mean:.{decimals}f}{half}"


def verdict(runs: Sequence[Run]) -> str:
    """Return in one sentence what the last network gains on the baseline, or ""."""
    last = network_means(runs)[-1]
    if last.gain is None:
        return ""
    main = runs[0].scoring.main
    unit = "points" if main.unit == "%" else main.unit
    seeds = f"mean over {last.gain.seeds} seeds, 95 % interval"
    if not last.resolved:
        return f"{last.row.name} and {BASELINE}: no difference resolved ({seeds})."
    what = "better" if last.gain.mean > 0 else "worse"
    size = shown(last.gain._replace(mean=abs(last.gain.mean)), main.decimals)
    return f"{last.row.name}: {size} {unit} {what} than {BASELINE} ({seeds})."


def few_labels(run: Run) -> str:
    """Return in one sentence who had which labels, or "" where all had all."""
    labelled, count = run.meta.get("num_labelled"), run.meta.get("num_train")
    if not labelled or not count:
        return ""
    return (
        f"{labelled:,} of {count:,} training images have a label; for the other "
        f"{count - labelled:,} the student learns what the teacher answers, the baseline "
        "cannot use them."
    )


def seeds_table(runs: Sequence[Run]) -> Table:
    """Return the table for a terminal."""
    main = runs[0].scoring.main
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, header_style="bold")
    table.add_column("name")
    table.add_column("stage")
    for heading in (f"{main.heading} ({main.unit})", "seeds", "parameters", "size"):
        table.add_column(heading, justify="right")
    for found in network_means(runs):
        row = found.row
        cells = (row.name, row.stage, shown(found.test, main.decimals), str(found.test.seeds))
        sizes = scaled(row.num_parameters), scaled(row.size_bytes, "B")
        table.add_row(*(Text(cell) for cell in (*cells, *sizes)))
    return table
