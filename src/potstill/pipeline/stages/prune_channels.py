"""Structured pruning as a stage: channels go before the first step, training brings it back."""

import copy
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
from rich import print as say
from torch import nn

from potstill.artifact.spec import Entry
from potstill.artifact.transforms import PRUNE_CHANNELS
from potstill.atomic import write_atomically
from potstill.data.loaders.calibration import first_batches
from potstill.errors import ConfigError, DataError
from potstill.measure.latency import latency_ms as measure_latency
from potstill.models.copies import copy_network
from potstill.pipeline.stages.base import Change
from potstill.pruning.channels.criteria.base import Criterion
from potstill.pruning.channels.criteria.l2_magnitude import L2Magnitude
from potstill.pruning.channels.plan import ChannelPlan, apply_plan
from potstill.pruning.channels.prune import prune_channels
from potstill.pruning.channels.result import Pruned
from potstill.pruning.channels.target import SHARES, Target, steps
from potstill.training.module import DistillationModule

RECORD = "pruned.json"


class PruneChannels(Change):
    """Remove channels of the student until one target is met, in steps with training between.

    What was removed is in `pruned.json` of the stage's folder, in every checkpoint and in the
    artifact; an attempt that is resumed takes it from there. See `prune_channels` and `Target`.

    Args:
        criterion: what a channel is worth.
        ratio, macs, parameters, size_mb, latency_ms: the target, exactly one of them.
        first: the share that the first step takes at most; null to go all the way at once.
        then: the share that each later step takes more; null as well then.
        scope: "uniform" or "global".
        floor: the share of a layer's channels that stays whatever the criterion says.
        round_to: what the channels of a layer are a multiple of.
        untouchable: layers that keep all their outputs, with all that is under them.
        n_batches: training batches for a criterion that looks at images.

    Raises:
        ConfigError: if a setting is impossible.
    """

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
        target = Target(ratio, macs, parameters, size_mb, latency_ms)
        self.targets = _split(target, first, then)
        self.target, self.before = self.targets[-1], None
        self.criterion = criterion or L2Magnitude()
        self.n_batches = n_batches
        self.settings: dict[str, Any] = {"scope": scope, "floor": floor, "round_to": round_to}
        self.settings["untouchable"] = tuple(untouchable)
        self.done: Pruned | None = None

    before: Pruned | None

    @property
    def steps(self) -> int:
        """How many steps lead to the target."""
        return len(self.targets)

    def at(self, step: int, previous: Path | None = None) -> "PruneChannels":
        """Return what `step` does; `previous` is the folder of the step before."""
        one = copy.copy(self)
        one.target = self.targets[step]
        if previous is not None:
            one.before = _read(previous / RECORD)
        return one

    def rehearse(self, network: nn.Module, image_shape: Sequence[int]) -> nn.Module:
        """Return a network pruned to the target, by the size of weights that mean nothing yet."""
        self._prune(network, image_shape, L2Magnitude())
        return network

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """Prune, or repeat what an earlier attempt decided; every process does the same."""
        assert isinstance(pl_module, DistillationModule)
        if stage != "fit" or self.done is not None:
            return
        path = Path(trainer.default_root_dir) / RECORD
        found = _read(path) if path.is_file() else None
        if found is None and trainer.is_global_zero:
            found = self._decide(trainer, pl_module)
            write_atomically(path, json.dumps(found.to_json()))
            say(f"[bold]{Path(trainer.default_root_dir).name}[/bold]  {found}")
        self.done = Pruned.from_json(trainer.strategy.broadcast(found.to_json() if found else {}))
        earlier = self.before.plan if self.before else ChannelPlan()
        apply_plan(pl_module.student, self.done.plan.since(earlier))

    def _decide(self, trainer: pl.Trainer, module: DistillationModule) -> Pruned:
        student, batches = copy_network(module.student), None
        if self.criterion.needs != "weights":
            student = student.to(trainer.strategy.root_device)
            batches = first_batches(trainer.datamodule, self.n_batches)  # type: ignore[attr-defined]
        return self._prune(student, module.image_shape, self.criterion, batches, module.task.loss)

    def _prune(
        self,
        network: nn.Module,
        image_shape: Sequence[int],
        criterion: Criterion,
        batches: Any = None,
        loss: Any = None,
    ) -> Pruned:
        return prune_channels(
            network,
            image_shape,
            criterion,
            self.target,
            batches=batches,
            loss=loss,
            latency=lambda net: measure_latency(net, image_shape).median,
            before=self.before,
            **self.settings,
        )

    def describe(self) -> Entry:
        """Return the transform to the pruned network, from that of the stage's first step."""
        assert self.done is not None
        return {"kind": PRUNE_CHANNELS, "plan": self.done.plan.to_json()}

    def state_dict(self) -> dict[str, Any]:
        """Return what was removed."""
        return {"pruned": json.dumps(self.done.to_json()) if self.done else ""}

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


def _read(path: Path) -> Pruned:
    try:
        return Pruned.from_json(json.loads(path.read_text()))
    except (OSError, ValueError) as error:
        raise DataError(f"{path}: damaged ({error}). Fix: delete the stage's folder") from error
