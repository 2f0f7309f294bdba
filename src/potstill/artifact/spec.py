"""How a network's shape comes about: its builder, the channels left, the integers it runs in."""

from collections.abc import Iterator
from dataclasses import asdict, dataclass, fields, replace
from typing import Any

from potstill.errors import DataError

BUILDERS = "potstill.models."  # what a recipe may call: our builders and nothing else


@dataclass(frozen=True)
class Recipe:
    """Everything but the weights, as plain values.

    Attributes:
        builder: `_target_`, one of `potstill.models`, and its arguments; never any weights.
        plan: `ChannelPlan.to_json()` of what was pruned, from the built network on.
        quantization: the settings of `potstill.quantization` it was deployed with.
    """

    builder: dict[str, Any]
    plan: dict[str, Any] | None = None
    quantization: dict[str, Any] | None = None

    @classmethod
    def of(cls, node: dict[str, Any]) -> "Recipe":
        """Return the recipe of a network as a config describes it."""
        return cls(_without_weights(node))

    @classmethod
    def from_json(cls, values: Any, source: str) -> "Recipe":
        """Return the recipe in a file's header; `source` is the file, for the message.

        Raises:
            DataError: if it is none, or calls anything but a builder.
        """
        names = {item.name for item in fields(cls)}
        if not isinstance(values, dict) or "builder" not in values or set(values) - names:
            raise DataError(f"{source}: holds no recipe of ours. Fix: an artifact of a run")
        called = [node["_target_"] for node in _nodes(values["builder"])]
        for target in called or [None]:
            if not str(target).startswith(BUILDERS):
                raise DataError(
                    f"{source}: wants to call {target!r}, which is no builder of {BUILDERS[:-1]}. "
                    "Fix: an artifact from a source you trust"
                )
        return cls(**values)

    def to_json(self) -> dict[str, Any]:
        """Return plain dicts, lists, numbers and strings."""
        return asdict(self)

    def with_plan(self, plan: dict[str, Any]) -> "Recipe":
        """Return the same network with these channels left."""
        return replace(self, plan=plan)

    def with_quantization(self, quantization: dict[str, Any]) -> "Recipe":
        """Return the same network in integers."""
        return replace(self, quantization=quantization)


def _without_weights(value: Any) -> Any:
    if isinstance(value, dict):
        return {k: None if k == "weights" else _without_weights(v) for k, v in value.items()}
    return [_without_weights(item) for item in value] if isinstance(value, list) else value


def _nodes(value: Any) -> Iterator[dict[str, Any]]:
    """Yield everything in it that would be called."""
    if isinstance(value, dict):
        if "_target_" in value:
            yield value
        for inner in value.values():
            yield from _nodes(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _nodes(inner)
