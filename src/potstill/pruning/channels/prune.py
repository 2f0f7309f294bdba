"""Structured pruning: whole channels are removed, with all that is coupled to them."""

from collections.abc import Callable, Sequence

from torch import nn

from potstill.errors import ConfigError, nearest
from potstill.models.features.logits import find_logits, select_logits
from potstill.models.parametrized import bake, warn_baked
from potstill.models.paths import is_under
from potstill.pruning.channels.criteria.base import Criterion
from potstill.pruning.channels.equivalence import SelfCheck
from potstill.pruning.channels.groups import ChannelGroup, eval_copy, find_groups
from potstill.pruning.channels.plan import apply_plan
from potstill.pruning.channels.prunable import check_prunable
from potstill.pruning.channels.result import Pruned
from potstill.pruning.channels.search import PlanSearch
from potstill.pruning.channels.selection import SCOPES, Scored, score
from potstill.pruning.channels.statistics import Batches, Loss
from potstill.pruning.channels.target import Target


def prune_channels(
    model: nn.Module,
    image_shape: Sequence[int],
    criterion: Criterion,
    target: Target,
    *,
    scope: str = "uniform",
    floor: float = 0.1,
    round_to: int = 8,
    untouchable: Sequence[str] = (),
    batches: Batches | None = None,
    loss: Loss | None = None,
    latency: Callable[[nn.Module], float] | None = None,
    before: Pruned | None = None,
    output: str | None = None,
) -> Pruned:
    """Remove channels of `model` in place until `target` is met, and return what was done.

    Parameters are replaced: make the optimizer afterwards. Modes and `requires_grad` stay. The
    same model and batches give the same plan, except for a latency, which is measured.

    Args:
        model: any convolutional classifier, without hooks that outlive a call.
        image_shape: (C, H, W) of an image.
        criterion: scores channels; the lowest go.
        target: how small; the network ends at or below it, as near as the rounding allows.
        scope: "uniform", the same share of each layer, or "global", the lowest of all.
        floor: the share of a layer's channels that stays whatever the scores.
        round_to: what the channels of a layer are a multiple of; narrower layers stay whole.
        untouchable: layers that keep all their outputs, and all that is coupled to them; a name
            stands for all under it.
        batches: (image, target), for a criterion that `needs` them.
        loss: of (logits, target), a scalar, for a criterion that needs gradients.
        latency: milliseconds of a network, for a target in latency_ms.
        before: the previous step of an iterative pruning; shares then count from its dense
            network, the returned plan starts there, and a step may find nothing left to do.
        output: where the logits are in what the network returns, such as "logits" or "0"; found
            by running it where not given.

    Raises:
        ConfigError: before `model` is changed, where a setting is impossible, nothing would
            change, or the network's channels cannot be followed.
    """
    _check(criterion, target, scope, floor, round_to, batches, loss, latency)
    check_prunable(model)
    net = eval_copy(model)
    place = find_logits(net, image_shape) if output is None else output
    groups = _touchable(find_groups(net, image_shape, place), net, untouchable)
    if criterion.needs != "weights":
        criterion.observe(model, batches or (), _of_logits(loss, place))
    check = SelfCheck(net, image_shape, place)
    if target.name == "latency_ms":  # what is measured must run
        groups = check.sound(groups)
    for candidates in check.attempts(groups):
        scored = _score(candidates, criterion, floor, round_to, before)
        search = PlanSearch(net, image_shape, scored, scope, latency, before)
        plan = search.plan(target)
        if not plan.layers and before is None:
            raise ConfigError(
                f"{target}: removes no channel at round_to={round_to} and floor={floor}. "
                "Fix: a stronger target, or a smaller round_to"
            )
        if check.passes(plan):
            break
    done = search.report(plan, target)
    if baked := bake(model, plan.layers):
        warn_baked(model, baked)
    apply_plan(model, plan)
    return done


def _of_logits(loss: Loss | None, place: str) -> Loss | None:
    return loss and (lambda found, target: loss(select_logits(found, place), target))


def _check(
    criterion: Criterion,
    target: Target,
    scope: str,
    floor: float,
    round_to: int,
    batches: Batches | None,
    loss: Loss | None,
    latency: Callable[[nn.Module], float] | None,
) -> None:
    if scope not in SCOPES:
        raise ConfigError(f"scope={scope}: no such scope. Fix: scope={'|'.join(SCOPES)}")
    if not 0 <= floor < 1:
        raise ConfigError(f"floor={floor}: the share of a layer that stays. Fix: 0 <= floor < 1")
    if round_to < 1:
        raise ConfigError(f"round_to={round_to}: no multiple. Fix: round_to=8, or 1 for none")
    name = type(criterion).__name__
    if criterion.needs != "weights" and batches is None:
        raise ConfigError(f"criterion={name}: judges by images. Fix: give batches")
    if criterion.needs == "gradients" and loss is None:
        raise ConfigError(f"criterion={name}: judges by gradients. Fix: give a loss")
    if target.name == "latency_ms" and latency is None:
        raise ConfigError(f"{target}: nothing to measure with. Fix: give latency")


def _touchable(
    groups: list[ChannelGroup], net: nn.Module, untouchable: Sequence[str]
) -> list[ChannelGroup]:
    known = [path for path, _ in net.named_modules() if path]
    for name in untouchable:
        if name not in known:
            raise ConfigError(
                f"untouchable={name}: no such layer. Fix: untouchable={nearest(name, known)}"
            )
    kept = [g for g in groups if not any(is_under(p, untouchable) for p in outputs(g))]
    if not kept:
        raise ConfigError(
            f"untouchable={list(untouchable)}: nothing is left to prune. Fix: name fewer layers"
        )
    return kept


def outputs(group: ChannelGroup) -> list[str]:
    """Return the layers whose outputs the group's channels are."""
    return [member.path for member in group.members if member.side != "in"]


def _score(
    groups: list[ChannelGroup],
    criterion: Criterion,
    floor: float,
    round_to: int,
    before: Pruned | None,
) -> list[Scored]:
    judged = [(group, found) for group in groups if (found := criterion(group)) is not None]
    name = type(criterion).__name__
    if not judged:
        raise ConfigError(f"criterion={name}: can judge no layer. Fix: criterion=l2_magnitude")
    if all((found == found[0]).all() for _, found in judged):
        raise ConfigError(
            f"criterion={name}: scores the channels of a layer all alike (as the scales of batch "
            "norm are before training), so none is less important. Fix: train first, or "
            "criterion=l2_magnitude"
        )
    return [
        score(group, found, _dense_width(group, before), floor, round_to) for group, found in judged
    ]


def _dense_width(group: ChannelGroup, before: Pruned | None) -> int:
    return before.widths[group.name][0] if before and group.name in before.widths else group.width
