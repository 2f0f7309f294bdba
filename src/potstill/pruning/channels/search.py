"""Search for the plan that meets a target, on a copy without values."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from torch import nn

from potstill.errors import ConfigError
from potstill.measure.counts import MacCount, count_parameters, shape_of, size_mb
from potstill.models.copies import copy_network
from potstill.pruning.channels.plan import ChannelPlan, apply_plan
from potstill.pruning.channels.result import Cost, Pruned
from potstill.pruning.channels.selection import Scored, channel_counts, make_plan, width_in
from potstill.pruning.channels.target import SHARES, Search, Target

TRIES = 24
LATENCY_TRIES = 8  # each is measured, and the noise hides finer steps


@dataclass
class PlanSearch:
    """Plans for one network and its scored groups.

    Args:
        net: the network as it is, a `eval_copy`.
        image_shape: (C, H, W).
        scored: its prunable groups.
        scope: "uniform" or "global".
        latency: milliseconds of a network.
        before: the previous step; shares count from its dense network.
    """

    net: nn.Module
    image_shape: Sequence[int]
    scored: Sequence[Scored]
    scope: str
    latency: Callable[[nn.Module], float] | None = None
    before: Pruned | None = None
    measured: dict[tuple[object, ...], float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.shapes = shape_of(self.net)
        self.macs = MacCount(self.net, self.image_shape)
        self.dense = self.before.dense if self.before else self._count(ChannelPlan())

    def plan(self, target: Target) -> ChannelPlan:
        """Return the plan that meets `target`, in the channels of the network as it is."""
        if target.name == "ratio":
            self._check_ratio(target)
            return self.plan_at(target.value)
        whole = self.dense[target.name] if target.name in SHARES else 1
        tries = LATENCY_TRIES if target.name == "latency_ms" else TRIES
        search = Search(lambda ratio: self.cost(target.name, ratio) / whole, tries)
        if self.before and search.cost(0.0) <= target.value:
            return ChannelPlan()  # rounding took the step before this far
        ratio = search.ratio(target)
        if target.name == "latency_ms":
            return self.plan_at(ratio)
        return self._filled(
            ratio, 2.0**-tries, lambda p: self.cost_of(target.name, p) / whole, target
        )

    def _filled(
        self, ratio: float, step: float, cost: Callable[[ChannelPlan], float], target: Target
    ) -> ChannelPlan:
        """Return the plan at `ratio`, groups widened again one by one as far as the target lets.

        Layers of equal width round at the same ratio, all at once: of ResNet-20 that takes 13 %
        of the MACs at a stroke.
        """
        counts = channel_counts(self.scored, self.scope, ratio)
        wider = channel_counts(self.scored, self.scope, ratio - step)
        plan = make_plan(self.scored, counts)
        for name in counts:
            tried = make_plan(self.scored, counts | {name: wider[name]})
            if wider[name] != counts[name] and cost(tried) <= target.value:
                counts[name], plan = wider[name], tried
        return plan

    def plan_at(self, ratio: float) -> ChannelPlan:
        """Return the plan that removes `ratio` of the dense network's channels."""
        return make_plan(self.scored, channel_counts(self.scored, self.scope, ratio))

    def cost(self, name: str, ratio: float) -> float:
        """Return the cost called `name` of the network pruned by `ratio`; see `cost_of`."""
        return self.cost_of(name, self.plan_at(ratio))

    def cost_of(self, name: str, plan: ChannelPlan) -> float:
        """Return `macs`, `parameters`, `size_mb` or `latency_ms` of the network a plan leaves.

        Networks of the same widths are measured once.
        """
        key = (name, *self._widths(plan))
        if key not in self.measured:
            self.measured[key] = self._measure(name, plan)
        return self.measured[key]

    def report(self, plan: ChannelPlan, target: Target) -> Pruned:
        """Return the outcome of `plan`, joined with the step before."""
        reached = self._count(plan)
        reached["ratio"] = 1 - reached["channels"] / self.dense["channels"]
        if target.name == "latency_ms":
            # The very measurement that met the target: another would differ.
            reached["latency_ms"] = self.measured[("latency_ms", *self._widths(plan))]
        whole = self.before.plan.then(plan) if self.before else plan
        widths = {one.group.name: [one.dense, width_in(one.group, plan)] for one in self.scored}
        return Pruned(whole, self.dense, reached, widths, str(target))

    def _measure(self, name: str, plan: ChannelPlan) -> float:
        if name == "latency_ms":
            assert self.latency is not None
            return self.latency(apply_plan(copy_network(self.net), plan))
        net = apply_plan(copy_network(self.shapes), plan)
        if name == "macs":
            return self.macs(net)
        return count_parameters(net) if name == "parameters" else size_mb(net)

    def _count(self, plan: ChannelPlan) -> Cost:
        net = apply_plan(copy_network(self.shapes), plan)
        return {
            "channels": sum(self._widths(plan)),
            "macs": self.macs(net),
            "parameters": count_parameters(net),
            "size_mb": size_mb(net),
        }

    def _widths(self, plan: ChannelPlan) -> list[int]:
        return [width_in(one.group, plan) for one in self.scored]

    def _check_ratio(self, target: Target) -> None:
        least = max(self.scored, key=lambda one: one.share)
        most = 1 - least.share
        if target.value > most + 1e-9:
            raise ConfigError(
                f"{target}: {least.group.name} has {least.dense} channels, of which the floor "
                f"keeps {least.share:.0%}. Fix: ratio={int(most * 1000) / 1000} or less, or a "
                "lower floor"
            )
