"""Step metrics: epoch means, the latest values on the host, a check for NaN."""

import math
from collections.abc import Mapping, Sequence

from torch import Tensor

from potstill.errors import NonFiniteError
from potstill.training.glance import Glance
from potstill.training.sums import EpochSums


class StepMetrics:
    """Running sums of an epoch, the values of a recent step, and a check that all are finite.

    Attributes:
        sums: of the epoch so far.
        glance: a recent step's numbers.
    """

    def __init__(self) -> None:
        self.sums, self.glance = EpochSums(), Glance()

    def add(self, step: int, values: Mapping[str, Tensor], is_due: bool) -> bool:
        """Add a step's scalars; return whether the host has new values of a step.

        Args:
            step: the optimizer's.
            values: by name.
            is_due: whether the host wants this step's values.

        Raises:
            NonFiniteError: if a value is NaN or infinite: on a CPU one of this step's, else one
                that arrived since.
        """
        row, names, arrived = self.sums.add(values), self.sums.names, False
        on_cpu = row.device.type == "cpu"
        if on_cpu:
            check_finite(step, names, row.tolist())
        elif is_due and (arrived := self.glance.look()):
            check_finite(self.glance.step, *zip(*self.glance.values.items(), strict=True))
        if is_due:
            self.glance.take(step, names, row)
        return arrived or (on_cpu and is_due)

    def means(self, step: int) -> dict[str, float]:
        """Return the epoch's means; waits for the device.

        Raises:
            NonFiniteError: if one is NaN or infinite.
        """
        means = self.sums.means()
        check_finite(step, tuple(means), tuple(means.values()))
        return means


def check_finite(step: int, names: Sequence[str], values: Sequence[float]) -> None:
    """Raise where a number is NaN or infinite.

    Raises:
        NonFiniteError: with the names of all that are.
    """
    if math.isfinite(sum(values)):  # nearly always, and fast
        return
    if bad := [n for n, value in zip(names, values, strict=True) if not math.isfinite(value)]:
        raise NonFiniteError(
            f"step={step}: {', '.join(bad)} is not finite. "
            "Fix: a lower learning rate, gradient clipping, or look at this step's images"
        )
