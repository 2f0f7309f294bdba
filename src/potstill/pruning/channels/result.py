"""Result of a pruning: the plan, and the network's costs before and after."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from potstill.errors import DataError
from potstill.pruning.channels.plan import ChannelPlan

Cost = dict[str, float]


@dataclass(frozen=True)
class Pruned:
    """Outcome of a pruning.

    Args:
        plan: the channels that remain, counted in the dense network.
        dense: `channels` (prunable ones), `macs`, `parameters` and `size_mb` of the dense network.
        widths: [dense, remaining] channels of each group, by the first layer that makes them.
        reached: the same of the pruned one, `ratio` (share of channels gone), and `latency_ms`
            where that was the target.
        target: as it was given, such as "macs=0.5".
    """

    plan: ChannelPlan
    dense: Cost
    reached: Cost
    widths: dict[str, list[int]]
    target: str

    def to_json(self) -> dict[str, Any]:
        """Return plain dicts, lists, numbers and strings."""
        return {**vars(self), "plan": self.plan.to_json()}

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> "Pruned":
        """Return the outcome that `to_json` wrote; DataError where it is damaged."""
        try:
            rest = {key: content[key] for key in ("dense", "reached", "widths", "target")}
            return cls(ChannelPlan.from_json(content["plan"]), **rest)
        except (KeyError, TypeError) as error:
            raise DataError(
                f"pruning: damaged ({error}). Fix: take the file that the pruning wrote"
            ) from error

    def __str__(self) -> str:
        gone = self.reached["ratio"]
        shares = ", ".join(
            f"{name} {self.reached[name] / self.dense[name]:.1%} remain"
            for name in ("macs", "parameters")
        )
        return f"{self.target}: {gone:.1%} of the channels go; {shares}"
