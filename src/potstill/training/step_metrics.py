"""Step metrics: epoch means, the latest values on the host, a check for NaN."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from potstill.errors import NonFiniteError


class EpochSums:
    """Running sums of named scalars; a change of names resets them."""

    def __init__(self) -> None:
        self.clear()

    def clear(self) -> None:
        """Reset the sums at the start of an epoch."""
        self.names: tuple[str, ...] = ()
        self.total: Tensor | None = None
        self.count = 0

    @torch.no_grad()
    def add(self, values: Mapping[str, Tensor]) -> Tensor:
        """Add a step's scalars and return them as one vector, in the order of the names."""
        row = torch.stack(tuple(values.values())).float()
        names = tuple(values)
        if self.total is None or names != self.names:
            self.names, self.total, self.count = names, torch.zeros_like(row), 0
        elif self.total.device != row.device:  # restored sums come on the CPU
            self.total = self.total.to(row.device)
        self.total += row
        self.count += 1
        return row

    def means(self) -> dict[str, float]:
        """Return the mean of each value over the steps so far; waits for the device."""
        if self.total is None:
            return {}
        return dict(zip(self.names, (self.total / self.count).tolist(), strict=True))

    def state_dict(self) -> dict[str, Any]:
        """Return the sums so far: plain values, and a tensor (M,) or None."""
        total = None if self.total is None else self.total.clone()
        return {"names": list(self.names), "total": total, "count": self.count}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore sums that `state_dict` returned."""
        self.names, self.total = tuple(state["names"]), state["total"]
        self.count = int(state["count"])


class Glance:
    """The newest values that have arrived on the host.

    Reading a tensor that a GPU still computes waits for all queued work. A row is copied in the
    background instead, and read once the copy is complete.

    Attributes:
        step: whose numbers they are; -1 before the first.
        values: the numbers by name.
    """

    def __init__(self) -> None:
        self.step, self.values = -1, dict[str, float]()
        self._coming: tuple[int, Sequence[str], Tensor, Any] | None = None

    def take(self, step: int, names: Sequence[str], row: Tensor) -> None:
        """Start to copy a row (M,), unless another copy is running; on a CPU it is read at once."""
        if row.device.type == "cpu":
            self._see(step, names, row)
        elif self._coming is None:
            host = row.to("cpu", non_blocking=True)  # into pinned memory
            event = torch.get_device_module(row.device).Event()
            event.record()
            self._coming = step, names, host, event

    def look(self) -> bool:
        """Return whether a running copy is complete since the last call."""
        if self._coming is None or not self._coming[3].query():
            return False
        self._see(*self._coming[:3])
        self._coming = None
        return True

    def _see(self, step: int, names: Sequence[str], row: Tensor) -> None:
        self.step, self.values = step, dict(zip(names, row.tolist(), strict=True))


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
