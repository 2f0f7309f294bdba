"""Structured pruning as a stage: channels go before the first step, training brings it back."""

import json
from collections.abc import Callable, Sequence
from typing import Any, ClassVar

import lightning.pytorch as pl
from torch import nn

from potstill.artifact.spec import Entry
from potstill.artifact.transforms import PRUNE_CHANNELS
from potstill.config.ranges import Ranges
from potstill.errors import ConfigError, DataError
from potstill.measure.latency import latency_ms as measure_latency
from potstill.models.copies import copy_network
from potstill.pipeline.stages.base import Stage
from potstill.pipeline.stages.context import Decision, StageContext
from potstill.pruning.channels.criteria.base import Criterion
from potstill.pruning.channels.criteria.l2_magnitude import L2Magnitude
from potstill.pruning.channels.plan import ChannelPlan, apply_plan
from potstill.pruning.channels.prune import prune_channels
from potstill.pruning.channels.result import Pruned
from potstill.pruning.channels.selection import SCOPES
from potstill.pruning.channels.target import SHARES, Target, steps

RECORD = "pruned.json"


class PruneChannels(Stage):
    """Remove channels of the student until one target is met, in steps with training between.

    What was removed is in `pruned.json` of the stage's folder, in every checkpoint and in the
    artifact; an attempt that is resumed takes it from there. See `prune_channels` and `Target`.

    Args:
        criterion: what a channel is worth.
        ratio, macs, parameters, size_mb, latency_ms: the target, exactly one of them.
        first: the share that the first step takes at most; null to go all the way at once.
        then: the share that each later step takes more; null as well then.
        scope: "uniform" or "global".
        floor: the share of a layer's channels that stays whatever the criterion.
        round_to: what the channels of a layer are a multiple of.
        untouchable: layers that keep all their outputs, with all that is under them.
        n_batches: training batches for a criterion that looks at images.

    Raises:
        ConfigError: if a setting is impossible.
    """

    ranges: ClassVar[Ranges] = {
        "ratio": "(0, 1)",
        "macs": "(0, 1)",
        "parameters": "(0, 1)",
        "size_mb": "(0, inf)",
        "latency_ms": "(0, inf)",
        "first": "(0, 1)",
        "then": "(0, 1)",
        "scope": SCOPES,
        "floor": "[0, 1)",
        "round_to": "[1, inf)",
        "n_batches": "[1, inf)",
    }

    def __init__(
        self,
        criterion: Criterion | None = None,
        ratio: float | None = None,
        macs: float | None = None,
        parameters: float | None = None,
        size_mb: float | None = None,
        latency_ms: float | None = None,
        first: float | None = 0.3,
        then: float | None = 0.1,
        scope: str = "uniform",
        floor: float = 0.1,
        round_to: int = 8,
        untouchable: Sequence[str] = (),
        n_batches: int = 8,
    ) -> None:
        if n_batches < 1:
            raise ConfigError(f"n_batches={n_batches}: too few. Fix: 1 or more")
        if not isinstance(criterion, Criterion | None):
            raise ConfigError(
                f"criterion={type(criterion).__name__}: does not score channels. "
                "Fix: one of the group criterion"
            )
        self.targets = _split(Target(ratio, macs, parameters, size_mb, latency_ms), first, then)
        self.criterion = criterion or L2Magnitude()
        self.n_batches = n_batches
        self.settings: dict[str, Any] = {"scope": scope, "floor": floor, "round_to": round_to}
        self.settings["untouchable"] = tuple(untouchable)
        self.done: Pruned | None = None

    @property
    def steps(self) -> int:
        """How many steps lead to the target."""
        return len(self.targets)

    def apply(self, network: nn.Module, context: StageContext) -> nn.Module:
        """Prune, or repeat what an earlier attempt decided; every process does the same.

        In a rehearsal the size of weights that mean nothing yet decides.
        """
        earlier = context.before(RECORD)
        before = Pruned.from_json(earlier) if earlier is not None else None
        found = context.decided(RECORD, lambda: self._decide(network, context, before))
        self.done = Pruned.from_json(found)
        return apply_plan(network, self.done.plan.since(before.plan if before else ChannelPlan()))

    def _decide(self, network: nn.Module, context: StageContext, before: Pruned | None) -> Decision:
        criterion: Criterion = L2Magnitude() if context.dry_run else self.criterion
        network, batches = copy_network(network), None
        if criterion.needs != "weights":
            network, batches = network.to(context.device), context.batches(self.n_batches)
        found = prune_channels(
            network,
            context.image_shape,
            criterion,
            self.targets[min(context.step, self.steps - 1)],
            batches=batches,
            loss=context.task_loss,
            latency=lambda net: measure_latency(net, context.image_shape).median,
            before=before,
            **self.settings,
        )
        if not context.dry_run:
            name = f"[bold]{context.folder.name}[/bold]  " if context.folder else ""
            context.say(f"{name}{found}")
        return found.to_json()

    def callbacks(self) -> list[pl.Callback]:
        """Return what puts the pruning into every checkpoint."""
        return [RecordedPruning(lambda: self.done)]

    def describe(self) -> Entry:
        """Return the transform to the pruned network, from that of the stage's first step."""
        assert self.done is not None
        return {"kind": PRUNE_CHANNELS, "plan": self.done.plan.to_json()}


class RecordedPruning(pl.Callback):
    """The pruning of a network in its checkpoints, compared with its own when one is restored.

    Args:
        pruned: what was pruned, None before that.
    """

    def __init__(self, pruned: Callable[[], Pruned | None]) -> None:
        self.pruned = pruned

    def state_dict(self) -> dict[str, Any]:
        """Return what was removed."""
        done = self.pruned()
        return {"pruned": json.dumps(done.to_json()) if done else ""}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Check that a checkpoint is of the network as it was pruned here."""
        if state_dict != self.state_dict():
            raise DataError(
                f"{RECORD}: not the pruning of the checkpoint. Fix: delete the stage's folder"
            )


def _split(target: Target, first: float | None, then: float | None) -> list[Target]:
    if first is None or then is None or target.name not in SHARES:
        return [target]
    return steps(target, first, then)
