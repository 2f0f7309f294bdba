"""Asynchronous copy of step metrics from a GPU to the host."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor


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
