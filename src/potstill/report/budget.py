"""The best, smallest and fastest network of a run, and those that fit a budget."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, ClassVar

from potstill.config.ranges import Ranges
from potstill.errors import ConfigError, nearest
from potstill.report.row import Row
from potstill.tasks.scoring import CLASSIFICATION, Score

MEGABYTE = 1e6  # as in the table
REFERENCE = "student"  # the row that `accuracy_drop` is counted from


@dataclass(frozen=True)
class Budget:
    """What a network may cost; None is no limit.

    Attributes:
        size_mb: its file, in units of 1,000,000 bytes.
        latency_ms: one image, the median in milliseconds, by whichever engine its row names.
        accuracy_drop: how many points (of 100) of test accuracy it may lose against the row
            `student`: the network as it was before it was pruned or quantized, which every
            run has. A teacher of unknown accuracy would make the limit unknown as well.
    """

    ranges: ClassVar[Ranges] = {
        "size_mb": "(0, inf)",
        "latency_ms": "(0, inf)",
        "accuracy_drop": "[0, inf)",
    }

    size_mb: float | None = None
    latency_ms: float | None = None
    accuracy_drop: float | None = None

    @classmethod
    def of(cls, settings: Any) -> "Budget | None":
        """Return the budget of a config's `budget`, None for none.

        Raises:
            ConfigError: if a limit is unknown or no positive number.
        """
        if settings is None:
            return None
        names = [item.name for item in fields(cls)]
        if not isinstance(settings, Mapping):
            raise ConfigError(f"budget={settings}: must be a mapping. Fix: budget.{names[0]}=...")
        for key, value in settings.items():
            if key not in names:
                raise ConfigError(f"budget.{key}: unknown key. Fix: {nearest(str(key), names)}")
            _check(str(key), value)
        limits = {str(key): float(v) for key, v in settings.items() if v is not None}
        return cls(**limits) if limits else None

    def excess(self, row: Row, reference: Row | None) -> list[str]:
        """Return what keeps `row` out of the budget, in words; nothing where it fits."""
        size = None if row.size_bytes is None else row.size_bytes / MEGABYTE
        found = [
            _over("size", size, self.size_mb, "MB"),
            _over("latency", row.latency_ms, self.latency_ms, "ms"),
            _over("accuracy drop", drop(row, reference), self.accuracy_drop, "points"),
        ]
        return [text for text in found if text]

    def __str__(self) -> str:
        """Say the limits as a person would."""
        limits = [
            None if self.size_mb is None else f"at most {self.size_mb:g} MB",
            None if self.latency_ms is None else f"at most {self.latency_ms:g} ms",
            None
            if self.accuracy_drop is None
            else f"at most {self.accuracy_drop:g} points less accurate than the {REFERENCE}",
        ]
        return ", ".join(limit for limit in limits if limit)


def _check(key: str, value: Any) -> None:
    number = isinstance(value, int | float) and not isinstance(value, bool)
    least = "0 or more" if key == "accuracy_drop" else "more than 0"
    good = value is None or (
        number and math.isfinite(value) and (value > 0 or (value == 0 and least == "0 or more"))
    )
    if not good:
        raise ConfigError(f"budget.{key}={value}: not a limit. Fix: a number, {least}")


def drop(row: Row, reference: Row | None) -> float | None:
    """Return how many points of test accuracy `row` is under `reference`."""
    return None if (gained := gain(row, reference, CLASSIFICATION.main)) is None else -gained


def gain(row: Row, reference: Row | None, score: Score) -> float | None:
    """Return how much better `row` is than `reference`, as the score is shown."""
    ours, theirs = row.score(score.name), None if reference is None else reference.score(score.name)
    return None if ours is None or theirs is None else score.gain(ours, theirs)


def _over(what: str, value: float | None, limit: float | None, unit: str) -> str | None:
    if limit is None or (value is not None and value <= limit):
        return None
    return f"{what} not measured" if value is None else f"{what} {value:.3g} {unit}"


@dataclass(frozen=True)
class Choice:
    """One recommendation.

    Attributes:
        what: the question.
        row: the network that fits; None where nothing measured is one.
        why: a remark.
    """

    what: str
    row: Row | None
    why: str = ""


def recommend(rows: Sequence[Row], score: Score, budget: Budget | None = None) -> list[Choice]:
    """Return the best, smallest and fastest network, and the best within `budget`.

    The teacher is what one wants to get away from: it is no candidate. Of equals the smaller,
    then the faster, then the earlier one is taken.
    """
    candidates = [row for row in rows if row.name != "teacher"]
    found = [
        Choice(score.best or f"best by {score.heading}", _best(candidates, score)),
        Choice("smallest", _first(candidates, "size_bytes", _by_size(score))),
        *_fastest(candidates, score),
    ]
    if budget is not None:
        found.append(_fitting(candidates, budget, score))
    return found


Order = Callable[[Row], tuple[float, ...]]


def _by_score(score: Score) -> Order:
    return lambda row: (score.rank(row.score(score.name)), _or(row.size_bytes), _or(row.latency_ms))


def _by_size(score: Score) -> Order:
    return lambda row: (_or(row.size_bytes), *_by_score(score)(row))


def _by_latency(score: Score) -> Order:
    return lambda row: (_or(row.latency_ms), *_by_score(score)(row))


def _or(value: float | None) -> float:
    return math.inf if value is None else value


def _best(rows: Sequence[Row], score: Score) -> Row | None:
    known = [row for row in rows if row.score(score.name) is not None]
    return min(known, key=_by_score(score), default=None)


def _first(rows: Sequence[Row], field: str, order: Order) -> Row | None:
    return min((row for row in rows if getattr(row, field) is not None), key=order, default=None)


def _fastest(rows: Sequence[Row], score: Score) -> list[Choice]:
    """Return the fastest network of each engine: two engines' times do not compare."""
    timed = [row for row in rows if row.latency_ms is not None]
    engines = list(dict.fromkeys(row.latency_engine for row in timed))
    if len(engines) < 2:
        return [Choice("fastest", _first(timed, "latency_ms", _by_latency(score)))]
    return [
        Choice(
            f"fastest in {engine or 'an unnamed engine'}",
            _first(
                [r for r in timed if r.latency_engine == engine], "latency_ms", _by_latency(score)
            ),
        )
        for engine in engines
    ]


def _fitting(rows: Sequence[Row], budget: Budget, score: Score) -> Choice:
    reference = next((row for row in rows if row.name == REFERENCE), None)
    over = {row.name: budget.excess(row, reference) for row in rows}
    fit = [row for row in rows if not over[row.name]]
    what = "best within the budget"
    if best := _best(fit, score):
        return Choice(what, best, f"{len(fit)} of {len(rows)} networks fit")
    reasons = "; ".join(f"{name}: {', '.join(texts)}" for name, texts in over.items() if texts)
    return Choice(what, None, f"no network fits. {reasons}")
