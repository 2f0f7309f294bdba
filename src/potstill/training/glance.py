"""A step's numbers as the host sees them: on a GPU some steps later, but without waiting."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor


class Glance:
    """The newest numbers that have arrived on the host.

    To read a tensor that a GPU still computes waits for all it was asked to do. A row is copied
    in the background instead, and seen once the copy is there.

    Attributes:
        step: whose numbers they are; -1 before the first.
        values: the numbers by name.
    """

    def __init__(self) -> None:
        self.step, self.values = -1, dict[str, float]()
        self._coming: tuple[int, Sequence[str], Tensor, Any] | None = None

    def take(self, step: int, names: Sequence[str], row: Tensor) -> None:
        """Send a row (M,) on its way, unless another one is; on a CPU it is there at once."""
        if row.device.type == "cpu":
            self._see(step, names, row)
        elif self._coming is None:
            host = row.to("cpu", non_blocking=True)  # into pinned memory
            event = torch.get_device_module(row.device).Event()
            event.record()
            self._coming = step, names, host, event

    def look(self) -> bool:
        """Return whether a row that was sent has arrived since."""
        if self._coming is None or not self._coming[3].query():
            return False
        self._see(*self._coming[:3])
        self._coming = None
        return True

    def _see(self, step: int, names: Sequence[str], row: Tensor) -> None:
        self.step, self.values = step, dict(zip(names, row.tolist(), strict=True))
