"""Specification of a network: a builder by name, and the transforms that followed, in order."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from potstill.config.names import builder_name, builder_target
from potstill.errors import DataError

LARGEST = 2**20  # of a number among a builder's arguments: sizes, counts, shares
# What would have a builder read another file, or fetch one.
_READS = re.compile(r"weights|pretrained.*|checkpoint_path|cache_dir")
_SPECIAL = re.compile(r"_.*_")  # what configs give a meaning to
Entry = dict[str, Any]  # a transform: its kind, and what rebuilding its shape takes


@dataclass(frozen=True)
class ModelSpec:
    """Everything but the weights, as plain values and without a module path.

    Attributes:
        builder: the name of a builder of `potstill.models`, or of a plugin's, `mylab:my_net`.
        kwargs: its arguments; never any weights. A network among them is a mapping of `builder`
            and `kwargs` again.
        transforms: what changed the built network's structure, each `{"kind": ..., ...}`.
    """

    builder: str
    kwargs: dict[str, Any] = field(default_factory=dict)
    transforms: tuple[Entry, ...] = ()

    @classmethod
    def of(cls, node: Mapping[str, Any]) -> "ModelSpec | None":
        """Return the specification of a network as a config describes it.

        None where something in it has no name.
        """
        try:
            return cls(**_without_weights(_named(node)))
        except LookupError:
            return None

    @classmethod
    def from_json(cls, values: Any, source: str) -> "ModelSpec":
        """Return the specification in a file's header; `source` is the file, for the message.

        Raises:
            DataError: if it is none, or calls what is no builder here.
        """
        keys = {"builder", "kwargs", "transforms"}
        if not isinstance(values, dict) or set(values) != keys:
            raise DataError(f"{source}: holds no network of ours. Fix: an artifact of a run")
        entries, kwargs = values["transforms"], values["kwargs"]
        if not _are_entries(entries) or not isinstance(kwargs, dict):
            raise DataError(f"{source}: holds no network of ours. Fix: an artifact of a run")
        check_builder(values["builder"], source)
        check_kwargs(kwargs, source)
        return cls(values["builder"], kwargs, tuple(entries))

    def to_json(self) -> dict[str, Any]:
        """Return plain dicts, lists, numbers and strings."""
        return {**vars(self), "transforms": list(self.transforms)}

    def then(self, *entries: Entry) -> "ModelSpec":
        """Return the specification of the network after more transforms."""
        return replace(self, transforms=(*self.transforms, *entries))


def check_builder(name: Any, source: str) -> None:
    """Raise unless `name` is that of a builder; `source` is the file, for the message."""
    if isinstance(name, str) and builder_target(name) is not None:
        return
    plugin, _, found = str(name).rpartition(":")
    if plugin:
        raise DataError(
            f"{source}: is built by {found} of the plugin {plugin}, which is not there. "
            f"Fix: plugins=[{plugin}], or POTSTILL_PLUGINS={plugin}"
        )
    raise DataError(
        f"{source}: wants to call {name!r}, which is no builder of potstill.models. "
        "Fix: an artifact from a source you trust"
    )


def check_kwargs(value: Any, source: str, key: str = "kwargs") -> None:
    """Raise unless a builder's arguments, from a file, are plain values that read no other file.

    A network among them is a mapping of `builder` and `kwargs`, held to the same.

    Raises:
        DataError: naming the argument.
    """
    if isinstance(value, list):
        for place, item in enumerate(value):
            check_kwargs(item, source, f"{key}[{place}]")
    elif isinstance(value, dict):
        if "builder" in value:
            if set(value) != {"builder", "kwargs"} or not isinstance(value["kwargs"], dict):
                raise _wrong(source, key, "no network")
            check_builder(value["builder"], source)
            value, key = value["kwargs"], f"{key}.kwargs"
        for name, item in value.items():
            if _SPECIAL.fullmatch(name) or (_READS.fullmatch(name) and item):
                raise _wrong(source, f"{key}.{name}", "not for a file to set")
            check_kwargs(item, source, f"{key}.{name}")
    elif type(value) in (int, float) and not -LARGEST <= value <= LARGEST:  # nor NaN
        raise _wrong(source, key, f"not within {LARGEST:,}")


def _wrong(source: str, key: str, what: str) -> DataError:
    return DataError(f"{source}: {key[:80]} is {what}. Fix: an artifact of a run")


def _are_entries(entries: Any) -> bool:
    return isinstance(entries, list | tuple) and all(
        isinstance(entry, dict) and isinstance(entry.get("kind"), str) for entry in entries
    )


def _named(value: Any) -> Any:
    """Return a config's nodes as builders by name; LookupError where one has none."""
    if isinstance(value, Mapping):
        inner = {key: _named(item) for key, item in value.items() if key != "_target_"}
        if "_target_" not in value:
            return inner
        name = builder_name(value["_target_"])
        if name is None:
            raise LookupError(value["_target_"])
        return {"builder": name, "kwargs": inner}
    return [_named(item) for item in value] if isinstance(value, list) else value


def _without_weights(value: Any) -> Any:
    if isinstance(value, dict):
        return {k: None if k == "weights" else _without_weights(v) for k, v in value.items()}
    return [_without_weights(item) for item in value] if isinstance(value, list) else value
