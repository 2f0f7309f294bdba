"""Transforms of a network's shape by kind: one table from which a file's network is rebuilt."""

from collections.abc import Callable
from typing import Any

from torch import nn

from potstill.config.names import transform_target
from potstill.config.plugins import import_from
from potstill.errors import DataError
from potstill.models.features.logits_alone import select_at
from potstill.pruning.channels.plan import ChannelPlan, apply_plan
from potstill.quantization.rebuild import dynamic_shape, static_shape

Rebuild = Callable[..., nn.Module]  # (network, **settings of the entry) -> network


def _without_channels(network: nn.Module, plan: dict[str, Any]) -> nn.Module:
    return apply_plan(network, ChannelPlan.from_json(plan))


SELECT_LOGITS, PRUNE_CHANNELS = "select_logits", "prune_channels"
INT8_STATIC, INT8_DYNAMIC = "int8_static", "int8_dynamic"
REBUILD: dict[str, Rebuild] = {
    SELECT_LOGITS: select_at,
    PRUNE_CHANNELS: _without_channels,
    INT8_STATIC: static_shape,
    INT8_DYNAMIC: dynamic_shape,
}


def rebuild(network: nn.Module, entry: dict[str, Any]) -> nn.Module:
    """Return `network` with the shape that a transform gave it; its weights mean nothing yet.

    Args:
        network: with the shape from before; it may be changed.
        entry: `kind`, a key of `REBUILD` or a plugin's `PLUGIN:FUNCTION`, and what that takes.

    Raises:
        DataError: if this version, with its plugins, knows no such kind.
    """
    settings = dict(entry)
    kind = settings.pop("kind")
    found = REBUILD.get(kind)
    if found is None and (target := transform_target(kind)) is not None:
        module, _, name = target.rpartition(".")
        found = getattr(import_from(module, f"transforms.kind={kind}"), name)
    if found is None:
        plugin = kind.rpartition(":")[0]
        fix = f"plugins=[{plugin}], or POTSTILL_PLUGINS={plugin}" if plugin else "a newer potstill"
        raise DataError(f"transforms.kind={kind}: unknown here. Fix: {fix}")
    try:
        return found(network, **settings)
    except TypeError as error:
        raise DataError(f"transforms.kind={kind}: {error}. Fix: an artifact of a run") from error
