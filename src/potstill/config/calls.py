"""Calls in a config, checked by place, name and arguments, from source alone."""

from typing import Any

from potstill.config.allow_list import permit
from potstill.config.arguments import check_arguments
from potstill.config.introspect import Definition
from potstill.config.kinds import Kind, Node, kind_at, nodes
from potstill.config.ranges import shorten
from potstill.config.signatures import signature
from potstill.errors import ConfigError, nearest

HYDRA_KEYS = {"_target_", "_partial_", "_recursive_", "_convert_", "_args_"}


def check_calls(value: Any, keys: tuple[str, ...] = ()) -> None:
    """Raise at the first node of a plain config that may not be called as it stands.

    Args:
        value: the config, or the part of it at `keys`.
        keys: that lead to it from the config's root.

    Raises:
        ConfigError: with the full key.
    """
    for place, node in nodes(value, keys):
        check_call(node, ".".join(place), kind_at(place))


def check_call(node: Node, path: str, kind: Kind | None) -> Definition:
    """Return what `node["_target_"]` names, where a config may call it with the node's keys.

    Raises:
        ConfigError: if not; `path` is the node's key.
    """
    if not isinstance(node["_target_"], str):
        raise ConfigError(f"{path}._target_={node['_target_']}: must be a dotted name. Fix: a.b.C")
    found = permit(node["_target_"], path, kind)
    own = {key: value for key, value in node.items() if key not in HYDRA_KEYS}
    takes = signature(found)
    names = {*takes.names, *(kind.then if kind else ())} if takes is not None else set()
    for key in own if takes is not None and not takes.is_open else ():
        if key not in names:
            near = nearest(str(key), names) or "no arguments"
            raise ConfigError(
                f"{join(path, key)}={shorten(own[key])}: {node['_target_']} takes no {key!r}. "
                f"Fix: {near}"
            )
    check_arguments(own, path, found)
    return found


def join(path: str, key: Any) -> str:
    """Return the dotted key of what stands at `key` under `path`."""
    return f"{path}.{key}" if path else str(key)
