"""Comparison page of several runs, paired where they were tested on the same images."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

from potstill.report.budget import Choice, recommend
from potstill.report.page import Compared, compared
from potstill.report.read import Run, labels, read_run
from potstill.report.render import render
from potstill.report.tradeoff import Plot, PlottedNetwork, entries, latency_plot, size_plot
from potstill.tasks.scoring import Scoring


class LabelledRun(NamedTuple):
    """A run on the page."""

    label: str
    run: Run


class ComparedRuns(NamedTuple):
    """Runs of one task tested on the same data: their table, images and what to choose of them."""

    data: str
    scoring: Scoring
    members: list[LabelledRun]
    table: list[tuple[LabelledRun, list[Compared]]]
    plots: list[Plot]
    choices: list[Choice]
    clocks: list[str]


class Apart(NamedTuple):
    """A row that cannot be compared with the first group's, and why."""

    label: str
    name: str
    why: str


def write_comparison(folders: Sequence[Path], out: Path) -> Path:
    """Write the page of several finished runs to `out` and return it.

    Raises:
        DataError: if one of them has no report.
        StorageError: where the page cannot be written.
    """
    members = members_of(folders)
    groups = [_group(found) for found in by_data(members)]
    return render(
        out,
        "compare.html.j2",
        title=f"{len(members)} runs compared",
        groups=groups,
        apart=incomparable([group.members for group in groups]),
        machines=[(member.label, member.run.machine) for member in members],
    )


def members_of(folders: Sequence[Path]) -> list[LabelledRun]:
    """Read the runs and name them by what tells their folders apart."""
    runs = [read_run(folder) for folder in folders]
    return [LabelledRun(label, run) for label, run in zip(labels(folders), runs, strict=True)]


def by_data(members: Sequence[LabelledRun]) -> list[list[LabelledRun]]:
    """Return the runs by task and the data they were tested on, the most runs first."""
    groups: dict[tuple[Scoring, str], list[LabelledRun]] = defaultdict(list)
    for member in members:
        groups[_identity(member.run)].append(member)
    return sorted(groups.values(), key=lambda group: -len(group))


def incomparable(groups: Sequence[Sequence[LabelledRun]]) -> list[Apart]:
    """Return every row outside the first group, with the reason."""
    return [
        Apart(member.label, row.name, why_not(groups[0][0].run, member.run))
        for group in groups[1:]
        for member in group
        for row in member.run.rows
    ]


def why_not(one: Run, other: Run) -> str:
    """Return why the scores of two runs do not compare."""
    if one.scoring != other.scoring:
        return f"another task: {other.scoring.task}, not {one.scoring.task}"
    facts = (("other data", "dataset"), ("other test split", "num_test"))
    for what, key in (*facts, ("other image size", "image_size")):
        a, b = _fact(one, key), _fact(other, key)
        if a != b and None not in (a, b):
            return f"{what}: {b}, not {a}"
    if one.class_names != other.class_names:
        return "other classes, or their names in another order"
    a, b = (str(run.meta.get("data_fingerprint"))[:8] for run in (one, other))
    return f"other images, split or normalisation: fingerprint {b}, not {a}"


def described(run: Run) -> str:
    """Return in words what a run was tested on."""
    return str(run.meta.get("data") or "data that the report does not name")


def _fact(run: Run, key: str) -> Any:
    """Return a fact about the data; earlier reports have them in one sentence only."""
    parts = [part.strip() for part in described(run).split(",")]
    old = {"dataset": parts[0], "num_test": run.num_tested or None}
    return run.meta.get(key, old.get(key))


def _identity(run: Run) -> tuple[Scoring, str]:
    return run.scoring, str(run.meta.get("data_fingerprint") or described(run))


def _group(members: Sequence[LabelledRun]) -> ComparedRuns:
    scoring = members[0].run.scoring
    score = scoring.main
    shown = [
        entry
        for index, member in enumerate(members)
        for entry in entries(member.run, index, f"{member.label}/")
    ]
    table = [
        (
            member,
            [
                compared(row.name, row, member.run.row("student"), score, index)
                for row in member.run.rows
            ],
        )
        for index, member in enumerate(members)
    ]
    plots = [plot for plot in (size_plot(shown, score), latency_plot(shown, score)) if plot]
    timed = [entry.clock for entry in shown if entry.row.latency_ms is not None]
    return ComparedRuns(
        data=described(members[0].run),
        scoring=scoring,
        members=list(members),
        table=table,
        plots=plots,
        choices=recommend(_renamed(shown), score),
        clocks=list(dict.fromkeys(timed)),
    )


def _renamed(shown: Sequence[PlottedNetwork]) -> list[Any]:
    """Return the candidates under their labels; times of two machines are two engines' here."""
    return [
        replace(entry.row, name=entry.label, latency_engine=entry.clock)
        for entry in shown
        if entry.row.name != "teacher"
    ]
