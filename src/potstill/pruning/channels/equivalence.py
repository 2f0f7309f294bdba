"""Proof of a pruning on the network itself: groups of channels that nothing else depends on."""

import warnings
from collections.abc import Iterator, Sequence

import torch
from torch import nn

from potstill.errors import ConfigError
from potstill.models.paths import is_under
from potstill.pruning.channels.fault import Fault, find_fault
from potstill.pruning.channels.groups import ChannelGroup
from potstill.pruning.channels.plan import ChannelPlan
from potstill.pruning.channels.selection import make_plan, score


class SelfCheck:
    """The proof that a pruned network computes what the dense one does without those channels.

    Args:
        net: the dense network, an `eval_copy`.
        image_shape: (C, H, W).
        output: where the logits are in what it returns.

    Raises:
        ConfigError: if a weight is NaN.
    """

    def __init__(self, net: nn.Module, image_shape: Sequence[int], output: str = "") -> None:
        if any(value.isnan().any() for value in net.state_dict().values()):
            raise ConfigError(
                f"model={type(net).__name__}: its outputs are not finite. Fix: weights without NaN"
            )
        self.net, self.image_shape, self.output = net, tuple(image_shape), output
        self._fault: Fault | None = None
        self._faults: dict[str, Fault] = {}  # of groups, each cut alone

    def attempts(self, groups: Sequence[ChannelGroup]) -> Iterator[list[ChannelGroup]]:
        """Yield all groups and, if a plan for them fails, those that are sound.

        Raises:
            ConfigError: if a plan for those fails too; it names the layer.
        """
        yield list(groups)
        yield (sound := self.sound(groups))
        raise self._refusal(self._blamed(sound), self._fault)

    def passes(self, plan: ChannelPlan) -> bool:
        """Return whether the network pruned by `plan` equals the dense one without the channels."""
        self._fault = find_fault(self.net, plan, self.image_shape, self.output)
        return self._fault is None

    def sound(self, groups: Sequence[ChannelGroup]) -> list[ChannelGroup]:
        """Return those of `groups` whose removal leaves the network's function alone.

        The layers of others stay whole, as where a width is written down in the network's own
        code; a warning names them.

        Raises:
            ConfigError: if there is none; it names a layer.
        """
        sound = self._bisect(list(groups))
        if not sound:
            raise self._refusal(*next(iter(self._faults.items())))
        if whole := [group.name for group in groups if group not in sound]:
            reason = _described(whole[0], self._faults.get(whole[0]))
            warnings.warn(
                f"model={type(self.net).__name__}: layers that keep all channels: {len(whole)}; "
                f"{reason}. Fix: untouchable=[{', '.join(whole)}] if that is meant",
                stacklevel=3,
            )
        return sound

    def _bisect(self, groups: list[ChannelGroup]) -> list[ChannelGroup]:
        if not groups or not (fault := self._fault_of(groups)):
            return groups
        if len(groups) == 1:
            return []
        first, second = _split(groups, fault)
        found, more = self._bisect(first), self._bisect(second)
        if not (found and more) or not self._fault_of(found + more):
            return found + more
        for group in more:
            found = found if self._fault_of([*found, group]) else [*found, group]
        return found

    def _fault_of(self, groups: Sequence[ChannelGroup]) -> Fault | None:
        plan = halves(groups)  # which channels are absent shows in any precision
        fault = find_fault(self.net, plan, self.image_shape, self.output, torch.float32)
        if fault and len(groups) == 1:
            self._faults[groups[0].name] = fault
        return fault

    def _refusal(self, name: str, fault: Fault | None) -> ConfigError:
        return ConfigError(
            f"model={type(self.net).__name__}: {_described(name, fault)}. Fix: untouchable=[{name}]"
        )

    def _blamed(self, groups: Sequence[ChannelGroup]) -> str:
        """Return the first layer of a group that has the layer at fault as a member."""
        assert self._fault is not None
        path = self._fault.layer
        at = [group for group in groups if any(member.path == path for member in group.members)]
        return (at or list(groups))[0].name


def halves(groups: Sequence[ChannelGroup]) -> ChannelPlan:
    """Return the plan that keeps a random half: channels mixed up show in the outputs."""
    generator = torch.Generator().manual_seed(0)
    scored = [score(g, torch.rand(g.width, generator=generator), g.width, 0, 1) for g in groups]
    return make_plan(scored, {g.name: g.width // g.blocks // 2 * g.blocks for g in groups})


def _split(
    groups: list[ChannelGroup], fault: Fault
) -> tuple[list[ChannelGroup], list[ChannelGroup]]:
    """Return the groups that the module at fault has a part in, and the others; or two halves."""
    at = [g for g in groups if any(is_under(member.path, [fault.layer]) for member in g.members)]
    if 0 < len(at) < len(groups):
        return [group for group in groups if group not in at], at
    middle = len(groups) // 2
    return groups[:middle], groups[middle:]


def _described(name: str, fault: Fault | None) -> str:
    if fault is None:
        return f"{name} cannot be pruned together with the others"
    there = f"{fault.layer} " if fault.layer and fault.layer != name else ""
    return f"{name} cannot be pruned: {there}{fault.reason}"
