"""Selection of channels by score: their number in each group, then the lowest."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from potstill.errors import ConfigError
from potstill.pruning.channels.groups import ChannelGroup
from potstill.pruning.channels.plan import ChannelPlan, Kept

SCOPES = ("uniform", "global")


@dataclass(frozen=True)
class Scored:
    """A group with one score for each set of tied channels.

    Args:
        group: the coupled channels.
        scores: (width / blocks,), on the CPU; the lowest go first.
        dense: its channels in the dense network: shares count from there.
        share: the share of them that stays whatever the scores; of one channel at least.
        unit: what the count of channels is rounded to.
    """

    group: ChannelGroup
    scores: Tensor
    dense: int
    share: float
    unit: int

    @property
    def minimum(self) -> int:
        """The fewest channels that may stay: the share, rounded up to the unit."""
        units = math.ceil(self.share * self.dense / self.unit - 1e-9)
        return min(units * self.unit, self.group.width)

    @property
    def order(self) -> list[int]:
        """Tied sets of channels from least to most important; equal scores by their number."""
        return torch.argsort(self.scores, stable=True).tolist()

    def kept(self, count: int) -> list[int]:
        """Return the `count` channels that stay, ascending."""
        sets = sorted(self.order[len(self.scores) - count // self.group.blocks :])
        step = self.group.width // self.group.blocks
        return [block * step + number for block in range(self.group.blocks) for number in sets]


def score(group: ChannelGroup, scores: Tensor, dense: int, floor: float, round_to: int) -> Scored:
    """Return the group with the scores of tied channels added up."""
    if not scores.isfinite().all():
        raise ConfigError(
            f"criterion: {group.name} has scores that are not finite. Fix: check the weights and "
            "the loss for NaN"
        )
    tied = scores.detach().cpu().double().view(group.blocks, -1).sum(0)
    return Scored(group, tied, dense, max(floor, 1 / dense), unit_of(group, dense, round_to))


def unit_of(group: ChannelGroup, dense: int, round_to: int) -> int:
    """Return the number whose multiples the group's channel counts are.

    A grouped convolution wants a multiple of its groups too, and both together may leave it no
    choice (104 channels in 13 groups): there `round_to` gives way to its largest divisor that
    leaves four sizes.
    """
    if group.blocks == 1:
        return round_to
    divisors = [d for d in range(round_to, 0, -1) if round_to % d == 0]
    units = [math.lcm(group.blocks, divisor) for divisor in divisors]
    return next((unit for unit in units if 4 * unit <= dense), units[-1])


def channel_counts(scored: Sequence[Scored], scope: str, ratio: float) -> dict[str, int]:
    """Return how many channels of each group stay when `ratio` of the dense ones go.

    "uniform" takes the same share of each group, "global" the lowest scores of all. Counts are
    rounded down to a multiple of the group's unit, but never below a group's minimum.
    """
    if scope == "uniform":
        wanted = {one.group.name: one.dense * (1 - ratio) for one in scored}
    else:
        wanted = _lowest_of_all(scored, ratio)
    return {one.group.name: _rounded(one, wanted[one.group.name]) for one in scored}


def make_plan(scored: Sequence[Scored], counts: Mapping[str, int]) -> ChannelPlan:
    """Return the plan that keeps the best `counts[name]` channels of each group."""
    gone: dict[tuple[str, str, int], set[int]] = {}
    for one in scored:
        if counts[one.group.name] == one.group.width:
            continue
        stay = set(one.kept(counts[one.group.name]))
        for member in one.group.members:
            pairs = zip(member.channels, member.roots, strict=True)
            away = {channel for channel, root in pairs if root not in stay}
            gone.setdefault((member.path, member.side, member.width), set()).update(away)
    layers: dict[str, dict[str, Kept]] = {}
    for (path, side, width), away in gone.items():
        channels = tuple(channel for channel in range(width) if channel not in away)
        if away:
            layers.setdefault(path, {})[side] = Kept(width, channels)
    return ChannelPlan(layers)


def width_in(group: ChannelGroup, plan: ChannelPlan) -> int:
    """Return how many of the group's channels `plan` keeps."""
    first = group.members[0]
    kept = plan.layers.get(first.path, {}).get(first.side)
    return len(set(first.channels) & set(kept.channels)) if kept else group.width


def _rounded(one: Scored, wanted: float) -> int:
    count = math.floor(wanted / one.unit + 1e-9) * one.unit
    return min(max(count, one.minimum), one.group.width)


def _lowest_of_all(scored: Sequence[Scored], ratio: float) -> dict[str, float]:
    """Take the lowest scores first, skipping what a minimum protects."""
    left = {one.group.name: one.group.width for one in scored}
    surplus = sum(left.values()) - sum(one.dense for one in scored) * (1 - ratio)
    candidates = [
        (one.scores[number].item(), place, one)
        for place, one in enumerate(scored)
        for number in one.order[: (one.group.width - one.minimum) // one.group.blocks]
    ]
    for _, _, one in sorted(candidates, key=lambda entry: entry[:2]):
        if surplus <= 1e-9:
            break
        left[one.group.name] -= one.group.blocks
        surplus -= one.group.blocks
    return {name: float(count) for name, count in left.items()}
