"""Page of a multirun: effects of the swept settings over seeds, the best by validation."""

from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from rich.table import Table

from potstill.errors import DataError
from potstill.report.compare import LabelledRun, by_data, incomparable, members_of
from potstill.report.interval import Mean, mean_interval
from potstill.report.read import natural, runs_in
from potstill.report.render import render
from potstill.report.seeds import few_labels, network_means, seeds_table, verdict

NAME = "report.html"
SEED = "seed"

Values = tuple[str, ...]


class Setting(NamedTuple):
    """One combination of the swept values, over its seeds; scores as they are shown.

    `ranked` is the validation score, or the test score where no run kept the former.
    """

    values: Values
    ranked: Mean
    test: Mean | None
    members: list[LabelledRun]


class Cell(NamedTuple):
    """A cell of the heat map; `heat` is 0 for the worst and 1 for the best."""

    setting: Setting | None
    heat: float


class HeatMap(NamedTuple):
    """Two swept keys: a row for each value of the first, a column for each of the second."""

    down: str
    across: str
    columns: list[str]
    rows: list[tuple[str, list[Cell]]]
    fixed: str


def write_sweep(folder: Path | str, out: Path | None = None) -> Path:
    """Write the page of a Hydra sweep from the report.json of its jobs; return its path.

    Raises:
        DataError: if no job has finished.
        StorageError: where the page cannot be written.
    """
    folder = Path(folder)
    folders = runs_in(folder)
    if not folders:
        raise DataError(f"{folder}: no finished run in it. Fix: the folder of a multirun")
    groups = by_data(members_of(folders))
    members, subject = groups[0], _subject(groups[0])
    scoring = members[0].run.scoring
    validated = all(_score(member, subject, scoring.val) is not None for member in members)
    keys = swept_keys(members)
    found = settings(members, keys, subject, validated)
    found.sort(key=lambda setting: scoring.main.rank(setting.ranked.mean))
    best = found[0]
    return render(
        out or folder / NAME,
        "sweep.html.j2",
        title=f"{folder.name}: a sweep of {len(members)} runs",
        folder=folder,
        keys=keys,
        score=scoring.main,
        settings=found,
        best=best,
        heat_map=heat_map(found, keys, best, scoring.main.sign),
        subject=subject,
        split="validation" if validated else "test",
        members=members,
        apart=incomparable(groups),
        unfinished=unfinished(folder),
        networks=network_means(runs := [member.run for member in best.members]),
        verdict=verdict(runs),
        reason=few_labels(runs[0]),
    )


def sweep_lines(folder: Path) -> list[str | Table]:
    """Return what a terminal shows of a sweep: the networks of its best setting over seeds."""
    members = by_data(members_of(runs_in(folder)))[0]
    if len(members) < 2 or swept_keys(members):
        return []
    runs = [member.run for member in members]
    return [line for line in (few_labels(runs[0]), seeds_table(runs), verdict(runs)) if line]


def overrides(member: LabelledRun) -> dict[str, str]:
    """Return the command's key=value pairs of a run."""
    meta = member.run.meta
    # Earlier reports have them in the command only.
    texts = meta.get("overrides") or str(meta.get("command", "")).split()[2:]
    pairs = [str(text).lstrip("+").partition("=") for text in texts]
    return {key: value for key, _, value in pairs}


def swept_keys(members: Sequence[LabelledRun]) -> list[str]:
    """Return the keys whose values differ between runs, without the seed."""
    given = [overrides(member) for member in members]
    keys = dict.fromkeys(key for found in given for key in found if key != SEED)
    return [key for key in keys if len({found.get(key) for found in given}) > 1]


def settings(
    members: Sequence[LabelledRun], keys: Sequence[str], subject: str, validated: bool
) -> list[Setting]:
    """Return every combination of the swept values with its mean and interval over seeds."""
    groups: dict[Values, list[LabelledRun]] = defaultdict(list)
    for member in members:
        given = overrides(member)
        groups[tuple(given.get(key, "default") for key in keys)].append(member)
    return [_setting(values, group, subject, validated) for values, group in groups.items()]


def _setting(values: Values, members: list[LabelledRun], subject: str, validated: bool) -> Setting:
    scoring = members[0].run.scoring
    test = _shown(members, subject, scoring.main.name)
    ranked = _shown(members, subject, scoring.val) if validated else test
    if not ranked:
        names = ", ".join(member.label for member in members)
        raise DataError(f"{names}: no {scoring.main.heading} of {subject}. Fix: run it again")
    return Setting(values, mean_interval(ranked), mean_interval(test) if test else None, members)


def _shown(members: Sequence[LabelledRun], subject: str, name: str) -> list[float]:
    scale = members[0].run.scoring.main.scale
    found = [_score(member, subject, name) for member in members]
    return [scale * value for value in found if value is not None]


def _score(member: LabelledRun, subject: str, name: str) -> float | None:
    row = member.run.row(subject)
    return None if row is None else row.score(name)


def _subject(members: Sequence[LabelledRun]) -> str:
    """Return the network to compare: that which the runs end with, if it is the same in all."""
    names = {member.run.subject for member in members}
    return names.pop() if len(names) == 1 else "student"


def heat_map(
    found: Sequence[Setting], keys: Sequence[str], best: Setting, sign: int
) -> HeatMap | None:
    """Return the two keys with the most values as a table, any others as in the best setting.

    `sign` is 1 where more of the score is better, else -1.
    """
    if len(keys) < 2:
        return None
    count = {key: len({s.values[i] for s in found}) for i, key in enumerate(keys)}
    chosen = sorted(keys, key=lambda key: -count[key])[:2]
    down, across = (keys.index(key) for key in sorted(chosen, key=list(keys).index))
    rest = [i for i in range(len(keys)) if i not in (down, across)]
    shown = [s for s in found if all(s.values[i] == best.values[i] for i in rest)]
    by_place = {(s.values[down], s.values[across]): s for s in shown}
    rows, columns = (sorted({place[i] for place in by_place}, key=_number) for i in (0, 1))
    heats = [sign * setting.ranked.mean for setting in shown]
    return HeatMap(
        keys[down],
        keys[across],
        columns,
        [(row, [_cell(by_place.get((row, c)), heats, sign) for c in columns]) for row in rows],
        ", ".join(f"{keys[i]}={best.values[i]}" for i in rest),
    )


def _cell(setting: Setting | None, heats: Sequence[float], sign: int) -> Cell:
    if setting is None:
        return Cell(None, 0.0)
    low, high = min(heats), max(heats)
    heat = (sign * setting.ranked.mean - low) / (high - low) if high > low else 0.5
    return Cell(setting, heat)


def _number(text: str) -> tuple[bool, float, str]:
    """Sort numbers as numbers, after them the rest."""
    try:
        return False, float(text), text
    except ValueError:
        return True, 0.0, text


def unfinished(folder: Path) -> list[str]:
    """Return the jobs of a sweep that left no report."""
    jobs = [path.parent for path in folder.glob("*/.hydra")]
    return [job.name for job in sorted(jobs, key=natural) if not (job / "report.json").is_file()]
