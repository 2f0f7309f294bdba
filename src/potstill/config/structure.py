"""Structure of a config: what must stand at each place, and what a call cannot do without."""

from collections.abc import Mapping
from typing import Any

from potstill.config.calls import join
from potstill.config.introspect import find
from potstill.config.kinds import KINDS, PLACES, Kind, kind_at, nodes
from potstill.config.ranges import as_typed
from potstill.config.signatures import signature
from potstill.config.stage_settings import respelled
from potstill.errors import ConfigError

NEEDED = ("task", "data", "module", "trainer", "module.student")
_FIXES = {
    "module.student": "model@module.student=...",
    "module.teacher": "model@module.teacher=...",
}


def check_structure(config: Mapping[str, Any]) -> None:
    """Raise at the first place of a plain config that holds something else than it should.

    Raises:
        ConfigError: with the full key.
    """
    for place, kind in PLACES.items():
        parent, _, last = place.rpartition(".")
        if last == "*" and "*" not in parent:
            _check_group(_at(config, parent), parent, KINDS[kind])
        elif "*" not in place and place != "temperature":
            _check_node(_at(config, place), place, KINDS[kind])
    for name, stage in config["stages"].items():
        for part, kind in (("transforms", "stage"), ("callbacks", "callback")):
            _check_group((stage or {}).get(part), f"stages.{name}.{part}", KINDS[kind])
    if config["module"].get("heads") and not config["module"].get("teacher"):
        raise ConfigError(
            "module.teacher: heads and teacher go together. "
            "Fix: model@module.teacher=..., or head@module.heads=null"
        )


def check_needs(config: Any, keys: tuple[str, ...] = ()) -> None:
    """Raise at the first call of a plain config that lacks an argument it cannot do without.

    Raises:
        ConfigError: with the full key.
    """
    for place, node in nodes(config, keys):
        kind, path = kind_at(place), ".".join(place)
        if kind is None:
            continue
        if kind.is_partial != bool(node.get("_partial_")) and place[-1] in (
            "optimizer",
            "scheduler",
        ):
            raise ConfigError(f"{path}._partial_: is not set. Fix: +{path}._partial_=true")
        found = find(node["_target_"])
        takes = signature(found) if found is not None else None
        if takes is None or node.get("_partial_") or "_args_" in node:
            continue
        for name, parameter in takes.parameters.items():
            if parameter.default is None and name not in node and name not in kind.given:
                raise ConfigError(
                    f"{join(path, name)}: has no value, and {node['_target_']} needs one. "
                    f"Fix: +{join(path, name)}=..."
                )


def _check_group(group: Any, path: str, kind: Kind) -> None:
    if group is None:
        return
    if not isinstance(group, dict):
        raise ConfigError(
            f"{path}={as_typed(group)}: must be a mapping of {kind.what}s by name, or null. "
            f"Fix: {path}=null"
        )
    for name, node in group.items():
        _check_node(node, f"{path}.{name}", kind)


def _check_node(node: Any, path: str, kind: Kind) -> None:
    if node is None and path not in NEEDED:
        return
    if isinstance(node, dict) and "_target_" in node:
        return
    if node is None or node == {}:
        raise ConfigError(f"{path}: is missing. Fix: {_fix(path)}")
    if isinstance(node, dict):
        if respelled(path):  # half of the settings that a transform once had here
            return
        raise ConfigError(f"{path}: has no _target_, so it is no {kind.what}. Fix: {_fix(path)}")
    raise ConfigError(
        f"{path}={as_typed(node)}: must be {kind.with_article} (a mapping with _target_). "
        f"Fix: {_fix(path)}"
    )


def _fix(path: str) -> str:
    group, _, name = path.rpartition(".")
    if group == "module.heads":
        return f"head@module.heads=[..., {name}]"
    if "." not in path:
        return f"an option of {path}"
    return _FIXES.get(path, f"{path}=null")


def _at(config: Mapping[str, Any], path: str) -> Any:
    node: Any = config
    for key in path.split("."):
        node = node.get(key) if isinstance(node, dict) else None
    return node
