"""Means over an epoch, kept on the device: nothing is read back before the epoch ends."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor


class EpochSums:
    """Running sums of named scalars; a change of names starts them anew."""

    def __init__(self) -> None:
        self.clear()

    def clear(self) -> None:
        """Start an epoch."""
        self.names: tuple[str, ...] = ()
        self.total: Tensor | None = None
        self.count = 0

    def add(self, values: Mapping[str, Tensor]) -> Tensor:
        """Add a step's scalars and return them as one vector, in the order of the names."""
        row = torch.stack([value.detach().float() for value in values.values()])
        if self.total is None or tuple(values) != self.names:
            self.clear()
            self.names, self.total = tuple(values), torch.zeros_like(row)
        self.total = self.total.to(row.device) + row  # restored sums come on the CPU
        self.count += 1
        return row

    def not_finite(self, row: Tensor) -> list[str]:
        """Return the names of a row's values that are NaN or infinite; waits for the device."""
        fine = row.isfinite().tolist()
        return [name for name, ok in zip(self.names, fine, strict=True) if not ok]

    def means(self) -> dict[str, float]:
        """Return the mean of each value over the steps so far; waits for the device."""
        if self.total is None:
            return {}
        return dict(zip(self.names, (self.total / self.count).tolist(), strict=True))

    def state_dict(self) -> dict[str, Any]:
        """Return the sums so far: plain values, and a tensor (M,) or None."""
        return {"names": list(self.names), "total": self.total, "count": self.count}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from sums that `state_dict` returned."""
        self.names, self.total = tuple(state["names"]), state["total"]
        self.count = int(state["count"])
