"""Parts of a run's page beside its table, as plain data: a task fills them, the report draws."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

from potstill.measure.confusion import Confusion


@dataclass(frozen=True)
class NetworkOutputs:
    """The outputs of a run's networks on the test set.

    Attributes:
        outputs: network -> (M, K).
        targets: (M, ...), as the data gives them.
        subject: the network to look at closely.
        class_names: K names, none where the data has no classes.
        images: positions (E,) in the test set -> images (E, 3, H, W) in 0 .. 1.
    """

    outputs: Mapping[str, Tensor]
    targets: Tensor
    subject: str
    class_names: Sequence[str]
    images: Callable[[Tensor], Tensor]

    @property
    def teacher(self) -> Tensor | None:
        """The teacher's outputs (M, K), None where there is no teacher."""
        return self.outputs.get("teacher")


@dataclass(frozen=True)
class Chart:
    """A point an image for each network: both axes in the same unit, the diagonal is perfect.

    Attributes:
        title: of the chart.
        x: label of the axis to the right.
        y: label of the axis up.
        points: network -> (x values, y values).
    """

    title: str
    x: str
    y: str
    points: Mapping[str, tuple[Sequence[float], Sequence[float]]]


@dataclass(frozen=True)
class Parts:
    """What a page shows; empty is left out.

    Attributes:
        class_names: K names.
        confusion: of the subject.
        class_accuracy: network -> (K) accuracies, NaN for a class without an image.
        reliability: network -> `confidence`, `accuracy` and `count` by bin.
        examples: images on which the subject and another network differ: `position`, `image`
            (3, H, W) in 0 .. 1, `target`, `ours` and `theirs` as (text, confidence).
        charts: of true against predicted values.
    """

    class_names: Sequence[str] = ()
    confusion: Confusion | None = None
    class_accuracy: Mapping[str, Sequence[float]] = field(default_factory=dict)
    reliability: Mapping[str, Mapping[str, Sequence[float]]] = field(default_factory=dict)
    examples: Sequence[Mapping[str, Any]] = ()
    charts: Sequence[Chart] = ()
