"""Epoch means of step metrics, accumulated on the device."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor


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
