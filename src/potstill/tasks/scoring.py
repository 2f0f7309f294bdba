"""A task's metrics as data: names, units, directions, and which one decides."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from potstill.errors import ConfigError
from potstill.measure.units import measured, percent

PERCENT = "%"


@dataclass(frozen=True)
class Score:
    """A number that a network reaches on a data set.

    >>> Score("accuracy", "accuracy", "%").show(0.9861)
    '98.61 %'
    >>> Score("rmse", "RMSE", mode="min").gain(0.5, 0.75)
    0.25

    Attributes:
        name: its key in report.json and in logged metrics, `val/NAME`.
        heading: of its column.
        unit: "%" for a fraction from 0 to 1 that is shown in percent; else a word, or nothing.
        mode: "max" where more is better, else "min".
        short: its name in the progress bar.
        best: what a network that has the best is called in a recommendation.
        counts_images: whether it is the share of images that are right, so that one image
            weighs 1 / M and the interval of a fraction holds.
        of_files: whether `potstill measure` shows it of files.
    """

    name: str
    heading: str
    unit: str = ""
    mode: str = "max"
    short: str = ""
    best: str = ""
    counts_images: bool = False
    of_files: bool = True

    @property
    def scale(self) -> float:
        """The factor from its value to what a diagram shows."""
        return 100.0 if self.unit == PERCENT else 1.0

    @property
    def points(self) -> str:
        """What a difference of two values is counted in."""
        return "points" if self.unit == PERCENT else self.unit or self.heading

    @property
    def decimals(self) -> int:
        """How many decimals of a scaled value are shown."""
        return 2 if self.unit == PERCENT else 3

    @property
    def axis(self) -> str:
        """Heading and unit, for an axis of a diagram."""
        return f"{self.heading} ({self.unit})" if self.unit else self.heading

    @property
    def sign(self) -> int:
        """1 where more is better, else -1."""
        return 1 if self.mode == "max" else -1

    @property
    def title(self) -> str:
        """The heading, its first letter capital."""
        return self.heading[:1].upper() + self.heading[1:]

    def show(self, value: float | None) -> str:
        """Return a value as text, with its unit."""
        if self.unit == PERCENT:
            return percent(value)
        return measured(value, lambda number: f"{number:.3f} {self.unit}".rstrip())

    def difference(self, value: float, reference: float) -> float:
        """Return `value - reference`, scaled.

        Rounded: 0.985 - 0.98 in floating point is a little more than half a point.
        """
        return round(self.scale * (value - reference), 9)

    def gain(self, value: float, reference: float) -> float:
        """Return how much better `value` is than `reference`, scaled; negative for worse."""
        return self.sign * self.difference(value, reference)

    def rank(self, value: float | None) -> float:
        """Return a number by which the best comes first, what was not measured last."""
        return math.inf if value is None else -self.sign * value


@dataclass(frozen=True)
class Scoring:
    """What a report must know of a task to show its numbers.

    Attributes:
        task: its name.
        scores: in the order of their columns; the first is the one that decides.
        same: what two networks have in common where they agree on an image.
    note: what the headings of the scores after the first mean, a clause.
    """

    task: str
    scores: tuple[Score, ...]
    same: str = "same output"
    note: str = ""

    @property
    def main(self) -> Score:
        """The score by which networks are chosen, compared and drawn."""
        return self.scores[0]

    @property
    def val(self) -> str:
        """The key of the main score on the validation split."""
        return f"val_{self.main.name}"

    @property
    def monitor(self) -> str:
        """The name under which validation logs the main score."""
        return f"val/{self.main.name}"

    def short(self, name: str) -> str:
        """Return what the progress bar calls a score."""
        return next((s.short for s in self.scores if s.name == name and s.short), name)

    def mode(self, monitor: str) -> str | None:
        """Return "max" or "min" for a logged metric, None for one that is no score."""
        modes = {score.name: score.mode for score in self.scores} | {"loss": "min"}
        return modes.get(monitor.removeprefix("val/").removeprefix("ema_"))

    def need_accuracy(self, key: str, value: Any) -> None:
        """Raise where a setting that is an accuracy, or points of it, has no effect.

        Raises:
            ConfigError: if `value` is given and the main score is another.
        """
        if value is not None and self.main.name != "accuracy":
            raise ConfigError(
                f"{key}={value}: task {self.task} is judged by {self.main.heading}. Fix: {key}=null"
            )

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> "Scoring":
        """Return what `dataclasses.asdict` made plain."""
        scores = tuple(Score(**score) for score in values["scores"])
        return cls(values["task"], scores, values["same"], values["note"])


CLASSIFICATION = Scoring(
    "classification",
    (
        Score("accuracy", "accuracy", PERCENT, "max", "acc", "most accurate", counts_images=True),
        Score("ece", "ECE", PERCENT, "min"),
        Score("agreement", "agreement", PERCENT),
        Score("divergence", "KL", "nats", "min", of_files=False),
    ),
    same="same top class",
    note="Agreement and KL are with the teacher on the test set",
)
