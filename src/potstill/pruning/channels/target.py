"""Pruning targets in users' terms, and the search for the ratio that reaches one."""

import math
from collections.abc import Callable
from dataclasses import dataclass, fields

from potstill.errors import ConfigError

SHARES = ("ratio", "macs", "parameters")


@dataclass(frozen=True)
class Target:
    """Exactly one of five goals. Mind which way each counts.

    Args:
        ratio: the share of the channels that GOES: 0.3 removes 30 %. Half the channels are
            about three quarters of the MACs, since a layer shrinks on both sides.
        macs: the share of the dense network's multiply-accumulates that REMAINS.
        parameters: the share of its parameters that REMAINS.
        size_mb: the largest file, in MB (1e6 bytes) of safetensors in float32.
        latency_ms: the longest time an image may take, as the caller measures it.

    Raises:
        ConfigError: if not exactly one is given, or it is out of range.
    """

    ratio: float | None = None
    macs: float | None = None
    parameters: float | None = None
    size_mb: float | None = None
    latency_ms: float | None = None

    def __post_init__(self) -> None:
        given = {f.name: v for f in fields(self) if (v := getattr(self, f.name)) is not None}
        if len(given) != 1:
            raise ConfigError(
                f"target={given}: a pruning has one target. "
                "Fix: give one of ratio, macs, parameters, size_mb, latency_ms"
            )
        if not 0 < self.value < (1 if self.name in SHARES else math.inf):
            raise ConfigError(f"{self}: {_meaning(self.name)}. Fix: {_range(self.name)}")

    @property
    def name(self) -> str:
        """Name of the goal that was given: ratio, macs, parameters, size_mb or latency_ms."""
        return next(f.name for f in fields(self) if getattr(self, f.name) is not None)

    @property
    def value(self) -> float:
        """Value of the goal, in the unit of its name."""
        return float(getattr(self, self.name))

    def __str__(self) -> str:
        return f"{self.name}={self.value:g}"


def steps(target: Target, first: float = 0.3, then: float = 0.1) -> list[Target]:
    """Return growing targets that end in `target`, for pruning in steps with training between.

    The first step removes at most the share `first`, each further one `then`, all counted from
    the dense network. Only shares (ratio, macs, parameters) can be split.
    """
    if target.name not in SHARES:
        raise ConfigError(
            f"{target}: only a share can be reached in steps. Fix: use {', '.join(SHARES)}"
        )
    if not (0 < first < 1 and 0 < then < 1):
        raise ConfigError(f"first={first}, then={then}: shares that go. Fix: between 0 and 1")
    goal = target.value if target.name == "ratio" else 1 - target.value
    count = math.ceil(max(goal - first, 0) / then - 1e-9)
    shares = [round(first + then * step, 9) for step in range(count)] + [goal]
    between = [s if target.name == "ratio" else round(1 - s, 9) for s in shares[:-1]]
    return [Target(**{target.name: share}) for share in between] + [target]


@dataclass(frozen=True)
class Search:
    """Bisection for the ratio that meets a target; `cost` never rises with the ratio.

    Args:
        cost: from the ratio of channels that go to what the network then costs, in the target's
            unit; at 1 every layer is at its minimum.
        tries: how often the interval is halved.
    """

    cost: Callable[[float], float]
    tries: int

    def ratio(self, target: Target) -> float:
        """Return the smallest ratio found whose cost is not above the target.

        Raises:
            ConfigError: if the smallest network costs more (it is named), or nothing need go.
        """
        if self.cost(0.0) <= target.value:
            raise ConfigError(
                f"{target}: the network is there already ({self.cost(0.0):g}), so this would "
                f"change nothing. Fix: {target.name} below that"
            )
        smallest = self.cost(1.0)
        if smallest > target.value:
            raise ConfigError(
                f"{target}: the smallest this criterion, floor and rounding reach is "
                f"{target.name}={_up(smallest)}. Fix: {target.name}={_up(smallest)} or more, or a "
                "lower floor"
            )
        low, high = 0.0, 1.0
        for _ in range(self.tries):
            middle = (low + high) / 2
            low, high = (low, middle) if self.cost(middle) <= target.value else (middle, high)
        return high


def _up(value: float) -> float:
    """Return `value` rounded up to four digits, so that it can be reached when typed in."""
    digits = 3 - math.floor(math.log10(value))
    return math.ceil(value * 10**digits) / 10**digits


def _meaning(name: str) -> str:
    if name == "ratio":
        return "the share of the channels that goes; 0 changes nothing, 1 leaves layers empty"
    return "the share that remains" if name in SHARES else "must be positive"


def _range(name: str) -> str:
    return f"{name} between 0 and 1" if name in SHARES else f"{name} above 0"
